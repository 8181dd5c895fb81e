"""The forward step method."""

from collections.abc import Iterable

from torch import Tensor, nn

from decinv.ranges import refuse_not_above
from decinv.updates.base import UpdateRule


class ForwardStep(UpdateRule):
    """``z <- z - rho T(z)`` (Hong et al., NeurIPS 2024, arXiv 2409.18442, Theorem 1).

    T(z_k) tends to 0 if T is beta-cocoercive along the path and ``0 < rho < 2 beta``.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1.0) -> None:
        """Set the step size.

        Args:
            params: The one parameter that holds the latents.
            lr: Step size rho, above 0. E is nearly an inverse of D, so 1 is the natural size; the paper's is 0.001.

        Raises:
            ValueError: If ``lr`` is out of range.
        """
        refuse_not_above(0, lr=lr)
        super().__init__(params, {"lr": lr})

    def reset(self, max_iters: int) -> None:
        """Do nothing: the rule has no state."""

    def select(self, keep: Tensor) -> None:
        """Do nothing: the rule has no state."""

    def update(self) -> None:
        """Take one forward step."""
        self.point.sub_(self.residual, alpha=self.param_groups[0]["lr"])
