"""The inertial Krasnoselskii-Mann iteration."""

import warnings
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from decinv.ranges import refuse_not_above
from decinv.updates.base import UpdateRule


class InertialKM(UpdateRule):
    """``y_k = z_k + alpha (z_k - z_{k-1})``, ``z_{k+1} = y_k - 2 lambda beta T(y_k)`` (arXiv 2409.18442, Theorem 2).

    The parameter holds y, the point that is evaluated; ``solution()`` is z. If T is beta-cocoercive along the path,
    ``0 < alpha < 1`` and ``lambda (1 - alpha + 2 alpha^2) < (1 - alpha)^2``, then min ||T(y_k)||^2 = O(1/n).
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 0.001, momentum: float = 0.9, beta: float = 0.5) -> None:
        """Set step size and inertia; the defaults are the paper's.

        Args:
            params: The one parameter that holds the latents.
            lr: Step size ``2 lambda beta``, above 0.
            momentum: Inertia alpha, in [0, 1).
            beta: Cocoercivity that T is taken to have, above 0; it only decides whether Theorem 2's condition holds. About
                0.5 to 1 where E is nearly an inverse of D.

        Raises:
            ValueError: If an argument is out of range.

        Warns:
            UserWarning: If Theorem 2's condition fails, so that convergence is not proven.
        """
        refuse_not_above(0, lr=lr, beta=beta)
        if not 0 <= momentum < 1:
            raise ValueError(f"Expected `momentum` in [0, 1), but got {momentum}.")
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self._last: Tensor | None = None
        bound = 2 * beta * (1 - momentum) ** 2 / (1 - momentum + 2 * momentum**2)
        if lr >= bound:
            warnings.warn(
                "Theorem 2 of arXiv 2409.18442 needs lambda (1 - alpha + 2 alpha^2) < (1 - alpha)^2 with "
                f"lambda = lr / (2 beta), which fails for lr = {lr:g}, momentum (alpha) = {momentum:g} and beta = {beta:g}, "
                f"so the iteration may not converge; lower `lr` below {bound:.4g}.",
                stacklevel=2,
            )

    def reset(self, max_iters: int) -> None:
        """Forget the last iterate."""
        self._last = None

    def select(self, keep: Tensor) -> None:
        """Keep some rows of the last iterate."""
        if self._last is not None:
            self._last = self._last[keep]

    def update(self) -> None:
        """Step from y, then extrapolate."""
        group = self.param_groups[0]
        last = self.point.detach().clone() if self._last is None else self._last
        self._last = self.point - group["lr"] * self.residual
        self.point.copy_(self._last + group["momentum"] * (self._last - last))

    def solution(self) -> Tensor:
        """Give z, the iterate before its extrapolation."""
        return self.point.detach() if self._last is None else self._last

    def state_dict(self) -> dict[str, Any]:
        """Add the last iterate."""
        return super().state_dict() | {"last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the last iterate too."""
        last: Tensor | None = state_dict["last"]
        super().load_state_dict(state_dict)
        self._last = None if last is None else last.to(self.point.device)
