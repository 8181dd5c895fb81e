"""The forward step whose size warms up, and halves where a sample makes no progress."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from decinv.problems.base import Evaluation, spread
from decinv.ranges import refuse_below, refuse_not_above
from decinv.updates.base import UpdateRule


class PlateauForwardStep(UpdateRule):
    """``z <- z - rho_j r(z)`` with a rho for each sample (Hong et al., CVPR 2024, arXiv 2311.18387, released code).

    In iteration ``j < warmup``, rho is ``lr (j + 1) / warmup``. From then on it is multiplied by ``factor`` whenever the
    squared merit has not fallen below ``1 - threshold`` times its smallest value for more than ``patience`` iterations, after
    the step of the iteration that tells.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.5,
        warmup: int = 20,
        patience: int = 20,
        threshold: float = 1e-4,
        factor: float = 0.5,
    ) -> None:
        """Set the schedule.

        Args:
            params: The one parameter that holds the points.
            lr: Step size after the warm-up, above 0.
            warmup: Iterations of the linear warm-up, at least 1.
            patience: Iterations without progress before the step size falls, at least 0.
            threshold: Relative progress that counts, in [0, 1).
            factor: What the step size is multiplied by, in (0, 1).

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_not_above(0, lr=lr)
        refuse_below(1, warmup=warmup)
        refuse_below(0, patience=patience)
        if not (0 <= threshold < 1 and 0 < factor < 1):
            raise ValueError(f"Expected `threshold` in [0, 1) and `factor` in (0, 1), but got {threshold} and {factor}.")
        super().__init__(params, {"lr": lr})
        self.warmup, self.patience, self.threshold, self.factor = warmup, patience, threshold, factor
        self.reset(0)

    def reset(self, max_iters: int) -> None:
        """Start again with the warm-up."""
        self._count = 0
        self._books: Tensor | None = None

    def select(self, keep: Tensor) -> None:
        """Keep some rows."""
        self._books = None if self._books is None else self._books[:, keep]

    def observe(self, evaluation: Evaluation) -> None:
        """Note progress.

        The rows of the books are the rate's part in this step and in the next one, the smallest squared merit, and iterations
        since then.
        """
        square = evaluation.merit.square()
        if self._books is None:
            self._books = torch.stack([torch.ones_like(square), torch.ones_like(square), square, torch.zeros_like(square)])
            return
        _, part, best, waited = self._books
        better = square < best * (1 - self.threshold)
        waited = torch.where(better, 0.0, waited + 1)
        falls = (waited > self.patience) & (self._count >= self.warmup)
        following = torch.where(falls, part * self.factor, part)
        self._books = torch.stack([part, following, torch.where(better, square, best), torch.where(falls, 0.0, waited)])

    def update(self) -> None:
        """Take one step."""
        assert self._books is not None
        rate = self.param_groups[0]["lr"] * min(1.0, (self._count + 1) / self.warmup) * self._books[0]
        self._count += 1
        self.point.sub_(self.residual * spread(rate.to(self.point), self.point))

    def state_dict(self) -> dict[str, Any]:
        """Add the place in the schedule."""
        return super().state_dict() | {"count": self._count, "books": self._books}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the place in the schedule too."""
        books = state_dict["books"]
        super().load_state_dict(state_dict)
        self._count, self._books = state_dict["count"], None if books is None else books.to(self.point.device)
