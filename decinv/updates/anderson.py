"""Anderson acceleration of the forward step, per sample, with a pull towards the first step."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from decinv.problems.base import Evaluation
from decinv.updates.base import UpdateRule

TINY = torch.finfo(torch.float64).tiny


class Anderson(UpdateRule):
    """``z <- sum_i a_i y_i`` with ``y_i = z_i - rho T(z_i)`` over the last iterates, and the a that minimise a mixed residual.

    The coefficients of each sample minimise, subject to ``sum_i a_i = 1``::

        ||sum_i a_i r_i||^2 + pull (e_k / ||T(z_0)||^2) ||sum_i a_i y_i - y_0||^2 + ridge t ||a||^2

    (D. G. Anderson, "Iterative procedures for nonlinear integral equations", J. ACM 1965; Walker and Ni, "Anderson
    acceleration for fixed-point iterations", SIAM J. Numer. Anal. 2011.) Here r_i is the pixel residual D(z_i) - x, which is
    at hand and sees what E discards, or with ``mix_pixels=False`` the latent residual T(z_i), and t is the mean of ||r_i||^2.

    The second term is a Gaussian prior around the first step y_0. It keeps latent directions that the image hardly shows from
    drifting as long as the linear model behind the mixing is wrong: e_k is the squared error of that model's last prediction,
    ``||r_k - sum_i a_i r_i||^2`` with the previous a, or ``decay`` times its predecessor where that is more. Where D is linear
    or nearly so, it vanishes and plain Anderson acceleration remains.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1.0,
        history: int = 20,
        pull: float = 2.0,
        decay: float = 0.5,
        ridge: float = 1e-6,
        mix_pixels: bool = True,
    ) -> None:
        """Set step size, memory and regularisation.

        Args:
            params: The one parameter that holds the latents.
            lr: Step size rho of each mixed forward step, above 0.
            history: Number of iterates to mix, at least 1; 1 is the forward step.
            pull: Weight of the prior around the first step, at least 0; 0 is plain Anderson acceleration.
            decay: Least factor from one prediction error e_k to the next, in [0, 1).
            ridge: Regularisation of the coefficients, relative, at least 0.
            mix_pixels: Whether coefficients come from the pixel residual; else from the latent residual.

        Raises:
            ValueError: If an argument is out of range.
        """
        if lr <= 0 or history < 1 or ridge < 0 or pull < 0 or not 0 <= decay < 1:
            raise ValueError(
                "Expected `lr` above 0, `history` at least 1, `pull` and `ridge` at least 0 and `decay` in [0, 1), "
                f"but got {lr}, {history}, {pull}, {ridge} and {decay}."
            )
        super().__init__(params, {"lr": lr})
        self.history = history
        self.pull = pull
        self.decay = decay
        self.ridge = ridge
        self.mix_pixels = mix_pixels
        self.reset(0)

    def reset(self, max_iters: int) -> None:
        """Forget all iterates."""
        self._slots = max(1, min(self.history, max_iters))
        self._count = 0
        self._mismatch: Tensor | None = None
        self._state: _State | None = None

    def select(self, keep: Tensor) -> None:
        """Keep some rows of the history."""
        if self._state is not None:
            self._state = _State(*(part[keep] for part in self._state))

    def observe(self, evaluation: Evaluation) -> None:
        """Take the pixel residual."""
        self._mismatch = evaluation.mismatch.flatten(1) if self.mix_pixels else None

    def update(self) -> None:
        """Remember this iterate, and mix."""
        residual = self.residual.flatten(1)
        moved = self.point.flatten(1) - self.param_groups[0]["lr"] * residual
        error = residual if self._mismatch is None else self._mismatch
        state = self._begin(moved, error, residual) if self._state is None else self._state
        slot = self._count % self._slots
        self._count += 1
        state.doubt.copy_(torch.maximum(_squares(error - state.predicted), self.decay * state.doubt))
        for rows, gram, new in ((state.moved, state.spread, moved - state.first), (state.errors, state.gram, error)):
            rows[:, slot] = new
            products = torch.bmm(rows, new[:, :, None])[..., 0].double()
            gram[:, slot, :] = products
            gram[:, :, slot] = products
        weights = self._weights(state, slot).to(moved.dtype)[:, None, :]
        state.predicted.copy_(torch.bmm(weights, state.errors)[:, 0])
        self.point.copy_((torch.bmm(weights, state.moved)[:, 0] + state.first).view_as(self.point))

    def _begin(self, moved: Tensor, error: Tensor, residual: Tensor) -> "_State":
        """Make room for the history."""
        rows, m = len(moved), self._slots
        gram = moved.new_zeros(rows, m, m, dtype=torch.float64)
        self._state = _State(
            first=moved.clone(),
            distance=_squares(residual).clamp_min(TINY),
            moved=moved.new_zeros(rows, m, moved.shape[1]),
            errors=error.new_zeros(rows, m, error.shape[1]),
            gram=gram,
            spread=gram.clone(),
            predicted=torch.zeros_like(error),
            doubt=gram.new_zeros(rows),
        )
        return self._state

    def _weights(self, state: "_State", slot: int) -> Tensor:
        """Solve for the coefficients ``(B, m)``, 0 for empty slots; a plain step where there is no finite solution."""
        m = min(self._count, self._slots)
        gram = state.gram[:, :m, :m]
        size = gram.diagonal(dim1=1, dim2=2).mean(1).clamp_min(TINY)
        prior = self.pull * state.doubt / state.distance
        system = (gram + prior[:, None, None] * state.spread[:, :m, :m]) / size[:, None, None]
        system.diagonal(dim1=1, dim2=2).add_(self.ridge)
        solution = torch.linalg.solve_ex(system, system.new_ones(len(system), m, 1))[0][..., 0]
        solution = solution / solution.sum(1, keepdim=True)
        weights = state.gram.new_zeros(len(gram), self._slots)
        weights[:, slot] = 1.0
        weights[:, :m] = torch.where(solution.isfinite().all(1, keepdim=True), solution, weights[:, :m])
        return weights


class _State(NamedTuple):
    """The history of the active samples, one row each; m slots, N latent and M error values.

    Attributes:
        first: The first step y_0, ``(B, N)``.
        distance: Its squared length ``||T(z_0)||^2``, ``(B,)``, float64.
        moved: The steps y_i relative to y_0, ``(B, m, N)``.
        errors: The residuals r_i that are mixed, ``(B, m, M)``.
        gram: Inner products of the errors, ``(B, m, m)``, float64.
        spread: Inner products of ``moved``, ``(B, m, m)``, float64.
        predicted: The residual that the last mixing promised, ``(B, M)``.
        doubt: The squared error e_k of that promise, ``(B,)``, float64.
    """

    first: Tensor
    distance: Tensor
    moved: Tensor
    errors: Tensor
    gram: Tensor
    spread: Tensor
    predicted: Tensor
    doubt: Tensor


def _squares(rows: Tensor) -> Tensor:
    """Give the squared norm of each row, float64."""
    return rows.square().sum(1).double()
