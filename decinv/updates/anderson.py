"""Anderson acceleration of the forward step, per sample, with a prior around the first step."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from decinv.problems.base import Evaluation
from decinv.updates.base import UpdateRule

TINY = torch.finfo(torch.float64).tiny


class Anderson(UpdateRule):
    """``z <- y_k - sum_i g_i (y_{i+1} - y_i)`` with ``y_i = z_i - rho T(z_i)``, and the g that make the mixed residual small.

    The coefficients of each sample minimise::

        ||r_k - sum_i g_i (r_{i+1} - r_i)||^2 + pull (e_k / ||T(z_0)||^2) ||y_k - y_0 - sum_i g_i (y_{i+1} - y_i)||^2

    over the last iterates (D. G. Anderson, "Iterative procedures for nonlinear integral equations", J. ACM 1965; Walker and
    Ni, "Anderson acceleration for fixed-point iterations", SIAM J. Numer. Anal. 2011). Here r_i stacks the pixel residual
    D(z_i) - x, which is at hand and sees what E discards, and the latent residual T(z_i), each relative to its first norm.

    The second term is a Gaussian prior around the first step y_0. It keeps latent directions that the image hardly shows from
    drifting as long as the linear model behind the mixing is wrong: e_k is the squared error of that model's last prediction
    of r_k (the first predicts no change), or ``decay`` times its predecessor where that is more. Where D is linear or nearly
    so, it vanishes and plain Anderson acceleration remains.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.5,
        history: int = 20,
        pull: float = 0.2,
        decay: float = 0.5,
        pixel_weight: float = 1.0,
        latent_weight: float = 0.3,
        ridge: float = 1e-8,
    ) -> None:
        """Set step size, memory and regularisation.

        Args:
            params: The one parameter that holds the latents.
            lr: Step size rho of each mixed forward step, above 0; below 1, since E(D(z)) overshoots on some images.
            history: Number of iterates to mix, at least 1; 1 is the forward step. Each takes the memory of one image.
            pull: Weight of the prior around the first step, at least 0; 0 is plain Anderson acceleration.
            decay: Least factor from one prediction error e_k to the next, in [0, 1).
            pixel_weight: Weight of the pixel residual in r, at least 0; 0 mixes by the latent residual alone.
            latent_weight: Weight of the latent residual in r, at least 0; 0 mixes by the pixel residual alone.
            ridge: Regularisation, above 0: changes of r whose square is below this part of ||r||^2 count as noise.

        Raises:
            ValueError: If an argument is out of range.
        """
        if lr <= 0 or history < 1 or ridge <= 0 or pull < 0 or not 0 <= decay < 1:
            raise ValueError(
                "Expected `lr` and `ridge` above 0, `history` at least 1, `pull` at least 0 and `decay` in [0, 1), "
                f"but got {lr}, {ridge}, {history}, {pull} and {decay}."
            )
        if pixel_weight < 0 or latent_weight < 0 or pixel_weight + latent_weight == 0:
            raise ValueError(
                "Expected `pixel_weight` and `latent_weight` at least 0 and not both 0, "
                f"but got {pixel_weight} and {latent_weight}."
            )
        super().__init__(params, {"lr": lr})
        self.history = history
        self.pull = pull
        self.decay = decay
        self.pixel_weight = pixel_weight
        self.latent_weight = latent_weight
        self.ridge = ridge
        self.reset(0)

    def reset(self, max_iters: int) -> None:
        """Forget all iterates."""
        self._slots = max(0, min(self.history, max_iters) - 1)
        self._count = 0
        self._mismatch: Tensor | None = None
        self._state: _State | None = None

    def select(self, keep: Tensor) -> None:
        """Keep some rows of the history."""
        if self._state is not None:
            self._state = _State(*(part[keep] for part in self._state))

    def state_dict(self) -> dict[str, Any]:
        """Add the history."""
        history = None if self._state is None else self._state._asdict()
        return super().state_dict() | {"slots": self._slots, "count": self._count, "history": history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the history too, in its own precision."""
        history = state_dict["history"]
        state = None if history is None else _State(**{name: part.to(self.point.device) for name, part in history.items()})
        super().load_state_dict(state_dict)
        self._slots, self._count, self._state = state_dict["slots"], state_dict["count"], state

    def observe(self, evaluation: Evaluation) -> None:
        """Take the pixel residual."""
        self._mismatch = evaluation.mismatch.flatten(1).to(self.point.dtype)

    def update(self) -> None:
        """Remember this iterate, and mix."""
        residual = self.residual.flatten(1)
        moved = self.point.flatten(1) - self.param_groups[0]["lr"] * residual
        if self._state is None:
            self._state = self._begin(moved, residual)
            self._state.error.copy_(self._error(self._state, residual))
            self._state.predicted.copy_(self._state.error)
            self.point.copy_(moved.view_as(self.point))
            return
        state = self._state
        error = self._error(state, residual)
        surprise = error - state.predicted
        state.doubt.copy_(torch.maximum(_dot(surprise, surprise), self.decay * state.doubt))
        if self._slots:
            self._remember(state, moved, error)
            weights = self._weights(state, moved, error).to(moved.dtype)[:, None, :]
            moved = moved - torch.bmm(weights, state.moves)[:, 0]
            state.predicted.copy_(error - torch.bmm(weights, state.changes)[:, 0])
        self.point.copy_(moved.view_as(self.point))

    def _error(self, state: "_State", residual: Tensor) -> Tensor:
        """Stack the weighted residuals as ``(B, M)``; without an image there is the latent residual alone."""
        if self._mismatch is None or self.pixel_weight == 0:
            return residual
        if self.latent_weight == 0:
            return self._mismatch
        return torch.cat([self._mismatch * state.pixel_scale[:, None], residual * state.latent_scale[:, None]], dim=1)

    def _begin(self, moved: Tensor, residual: Tensor) -> "_State":
        """Make room for the history."""
        rows, m = len(moved), self._slots
        pixels = 0 if self._mismatch is None or self.pixel_weight == 0 else self._mismatch.shape[1]
        latents = residual.shape[1] if pixels == 0 or self.latent_weight > 0 else 0
        gram = moved.new_zeros(rows, m, m, dtype=torch.float64)
        distance = _dot(residual, residual)
        distance = torch.where(distance > 0, distance, 1.0)
        mismatch = residual if self._mismatch is None else self._mismatch
        image_distance = _dot(mismatch, mismatch)
        image_distance = torch.where(image_distance > 0, image_distance, 1.0)
        return _State(
            first=moved.clone(),
            distance=distance,
            pixel_scale=(self.pixel_weight / image_distance.sqrt()).to(moved.dtype),
            latent_scale=(self.latent_weight / distance.sqrt()).to(moved.dtype),
            moved=moved.clone(),
            error=moved.new_zeros(rows, pixels + latents),
            moves=moved.new_zeros(rows, m, moved.shape[1]),
            changes=moved.new_zeros(rows, m, pixels + latents),
            gram=gram,
            spread=gram.clone(),
            predicted=moved.new_zeros(rows, pixels + latents),
            doubt=gram.new_zeros(rows),
        )

    def _remember(self, state: "_State", moved: Tensor, error: Tensor) -> None:
        """Let the last differences take the oldest slot, with their row and column of the Gram matrices."""
        slot = self._count % self._slots
        self._count += 1
        for rows, gram, new, last in (
            (state.moves, state.spread, moved, state.moved),
            (state.changes, state.gram, error, state.error),
        ):
            rows[:, slot] = new - last
            last.copy_(new)
            products = _dots(rows, rows[:, slot])
            gram[:, slot, :] = products
            gram[:, :, slot] = products

    def _weights(self, state: "_State", moved: Tensor, error: Tensor) -> Tensor:
        """Solve the normal equations for ``(B, slots)`` coefficients, 0 for empty slots and where nothing finite comes out."""
        m = min(self._count, self._slots)
        prior = (self.pull * state.doubt / state.distance)[:, None]
        system = (state.gram + prior[..., None] * state.spread)[:, :m, :m]
        right = (_dots(state.changes, error) + prior * _dots(state.moves, moved - state.first))[:, :m]
        diagonal = system.diagonal(dim1=1, dim2=2)
        diagonal.add_(self.ridge * _dot(error, error)[:, None]).clamp_min_(TINY)
        scale = diagonal.rsqrt()
        system = system * scale[:, :, None] * scale[:, None, :]
        solution = torch.linalg.solve_ex(system, (right * scale)[..., None])[0][..., 0] * scale
        weights = state.gram.new_zeros(len(system), self._slots)
        weights[:, :m] = torch.where(solution.isfinite().all(1, keepdim=True), solution, 0.0)
        return weights


class _State(NamedTuple):
    """The history of the active samples, one row each: m slots, N latent and M error values.

    Attributes:
        first: The first step y_0, ``(B, N)``.
        distance: The squared length ``||T(z_0)||^2``, or 1 where that is 0, ``(B,)``, float64.
        pixel_scale: What the pixel residual is multiplied by in r, ``(B,)``.
        latent_scale: What the latent residual is multiplied by in r, ``(B,)``.
        moved: The last step y_{k-1}, ``(B, N)``.
        error: The last residual r_{k-1}, ``(B, M)``.
        moves: Differences of consecutive y, ``(B, m, N)``.
        changes: Differences of consecutive r, ``(B, m, M)``.
        gram: Inner products of ``changes``, ``(B, m, m)``, float64.
        spread: Inner products of ``moves``, ``(B, m, m)``, float64.
        predicted: The residual that the last mixing promised, ``(B, M)``.
        doubt: The squared error e_k of that promise, ``(B,)``, float64.
    """

    first: Tensor
    distance: Tensor
    pixel_scale: Tensor
    latent_scale: Tensor
    moved: Tensor
    error: Tensor
    moves: Tensor
    changes: Tensor
    gram: Tensor
    spread: Tensor
    predicted: Tensor
    doubt: Tensor


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Give the inner product of each pair of rows, summed in float64."""
    return (one * other).sum(1, dtype=torch.float64)


def _dots(rows: Tensor, one: Tensor) -> Tensor:
    """Give the inner products of ``rows`` ``(B, m, M)`` with ``one`` ``(B, M)``, ``(B, m)``, float64."""
    return torch.bmm(one[:, None, :], rows.mT)[:, 0].double()
