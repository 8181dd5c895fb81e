"""The average of a fixed-point iteration's iterates."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from decinv.ranges import refuse_below, refuse_not_above
from decinv.updates.base import UpdateRule


class AveragedForwardStep(UpdateRule):
    """``z <- z - lr r(z)``, of which the average of the iterates from the ``first`` on is the solution.

    On an implicit step of a sampler that is the iteration of ReNoise (Garibi et al., arXiv 2403.14602): iterates are linear in
    the predicted noise, so averaging them averages predictions. Give ``last_iterate`` to have the average reported. The
    released code takes other numbers for times below 250 than for later ones, and by default also moves predictions towards
    uncorrelated normal noise, and the noise that an ancestral step adds towards what undoes the error that is left; here the
    numbers are the same for all times, and nothing is moved.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1.0, first: int = 1) -> None:
        """Set the step size and what is averaged.

        Args:
            params: The one parameter that holds the points.
            lr: Step size, above 0.
            first: Iterate with which the average begins, at least 1.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_not_above(0, lr=lr)
        refuse_below(1, first=first)
        super().__init__(params, {"lr": lr})
        self.first = first
        self.reset(0)

    def reset(self, max_iters: int) -> None:
        """Forget the iterates."""
        self._count = 0
        self._mean: Tensor | None = None

    def select(self, keep: Tensor) -> None:
        """Keep some rows of the average."""
        self._mean = None if self._mean is None else self._mean[keep]

    def update(self) -> None:
        """Take one forward step, and average."""
        self.point.sub_(self.residual, alpha=self.param_groups[0]["lr"])
        self._count += 1
        if self._mean is None or self._count <= self.first:
            self._mean = self.point.detach().clone()
        else:
            self._mean.lerp_(self.point, 1 / (self._count - self.first + 1))

    def solution(self) -> Tensor:
        """Give the average."""
        return self.point.detach() if self._mean is None else self._mean

    def state_dict(self) -> dict[str, Any]:
        """Add the average."""
        return super().state_dict() | {"count": self._count, "mean": self._mean}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the average too."""
        mean = state_dict["mean"]
        super().load_state_dict(state_dict)
        self._count, self._mean = state_dict["count"], None if mean is None else mean.to(self.point.device)
