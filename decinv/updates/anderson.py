"""Anderson acceleration of the forward step, per sample, from the best iterate and as far as its model can be trusted."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from decinv.problems.base import Evaluation
from decinv.updates.base import UpdateRule
from decinv.updates.history import History

TINY = torch.finfo(torch.float64).tiny

STEEP = 5.5
"""Relative residuals this many times the pixel error that they come from say little about the true latent."""

RISE = 0.01
"""A squared error that rises by more than this part of the first one halves a sample's step size."""

SLOWEST = 0.02
"""Least part of the step size that is taken."""


class Anderson(UpdateRule):
    """``z <- y - sum_i g_i dy_i``, ``y = z - rho T(z)`` from the best iterate z, with g that make the mixed residual small.

    The coefficients of each sample minimise::

        ||r - sum_i g_i dr_i||^2 + pull (e / ||T(z_0)||^2) ||y - z - sum_i g_i dy_i||^2

    over the differences d that the last iterates made to the best one of their time (D. G. Anderson, "Iterative procedures
    for nonlinear integral equations", J. ACM 1965; Walker and Ni, "Anderson acceleration for fixed-point iterations", SIAM
    J. Numer. Anal. 2011). Here r stacks the pixel residual D(z) - x, which is at hand and sees what E discards, and the
    latent residual T(z), each relative to its first norm; the best iterate has the smallest ||r||.

    The second term keeps a step as short as the linear model behind the mixing is wrong: e is the squared error of that
    model's last prediction of r (the first predicts no change), or ``decay`` times its predecessor where that is more. Where
    D is linear or nearly so, it vanishes and plain Anderson acceleration remains. A step after which ||r||^2 grew by more
    than a hundredth of its first value is taken back and halves the rho of that sample; every other one doubles it up to
    ``lr``.

    A small residual proves little where E magnifies pixel errors, as it does on blurred images: there the latent error may
    grow while both residuals fall. So samples whose first relative residual is more than 5.5 times their first pixel error
    (root mean square, pixels in [-1, 1]) keep their start until the pixel error fell below ``trust`` times its first.
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
        trust: float = 0.25,
    ) -> None:
        """Set step size, memory and regularisation.

        Args:
            params: The one parameter that holds the latents.
            lr: Largest step size rho of a mixed forward step, above 0; below 1, since E(D(z)) overshoots on some images.
            history: Number of iterates to mix, at least 1; 1 is the forward step. Each takes the memory of one image.
            pull: Weight of the prior around the best iterate, at least 0; 0 is plain Anderson acceleration.
            decay: Least factor from one prediction error e_k to the next, in [0, 1).
            pixel_weight: Weight of the pixel residual in r, at least 0; 0 mixes by the latent residual alone.
            latent_weight: Weight of the latent residual in r, at least 0; 0 mixes by the pixel residual alone.
            ridge: Regularisation, above 0: changes of r whose square is below this part of ||r||^2 count as noise.
            trust: Part of its first pixel error below which a point is preferred to the start where E is steep, above 0.

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
        if not trust > 0:
            raise ValueError(f"Expected `trust` above 0, but got {trust}; inf trusts every point.")
        super().__init__(params, {"lr": lr})
        self.history = history
        self.pull = pull
        self.decay = decay
        self.pixel_weight = pixel_weight
        self.latent_weight = latent_weight
        self.ridge = ridge
        self.trust = trust
        self.reset(0)

    def reset(self, max_iters: int) -> None:
        """Forget all iterates."""
        self._slots = max(0, min(self.history, max_iters) - 1)
        self._count = self._pixels = 0
        self._mismatch: Tensor | None = None
        self._state: History | None = None

    def select(self, keep: Tensor) -> None:
        """Keep some rows of the history."""
        if self._state is not None:
            self._state = History(*(part[keep] for part in self._state))

    def state_dict(self) -> dict[str, Any]:
        """Add the history."""
        history = None if self._state is None else self._state._asdict()
        return super().state_dict() | {"slots": self._slots, "count": self._count, "pixels": self._pixels, "history": history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the history too, in its own precision."""
        history = state_dict["history"]
        state = None if history is None else History(**{name: part.to(self.point.device) for name, part in history.items()})
        super().load_state_dict(state_dict)
        self._slots, self._count, self._pixels = (state_dict[name] for name in ("slots", "count", "pixels"))
        self._state = state

    def observe(self, evaluation: Evaluation) -> None:
        """Take the pixel residual."""
        self._mismatch = evaluation.mismatch.flatten(1).to(self.point.dtype)

    def proof(self, first: Evaluation) -> Tensor:
        """Ask for proof where the encoder is steep: where it makes much of small pixel errors."""
        steepness = first.merit.square() / first.mismatch.flatten(1).square().mean(1)
        return torch.where(steepness > STEEP**2, self.trust, torch.inf)

    def update(self) -> None:
        """Compare with the best iterate, remember the differences, and mix."""
        point, residual = self.point.flatten(1), self.residual.flatten(1)
        if self._state is None or not self._slots:
            self._state = self._begin(point, residual)
        else:
            self._remember(self._state, point, residual)
        state = self._state
        rho = (self.param_groups[0]["lr"] * state.rate)[:, None]
        step = -rho * state.residual
        used = min(self._count, self._slots)
        if used:
            moves = state.steps[:, :used] - rho[:, None] * state.drops[:, :used]
            weights = self._weights(state, moves, step)
            state.weights[:, :used] = weights
            step = step - torch.bmm(weights.to(step.dtype)[:, None, :], moves)[:, 0]
        self.point.copy_((state.point + step).view_as(self.point))

    def _write_error(self, scales: tuple[Tensor, Tensor], residual: Tensor, error: Tensor) -> None:
        """Put the weighted residuals side by side into ``error`` ``(B, M)``, without copies: they are as large as images."""
        if self._pixels and self._mismatch is not None:
            torch.mul(self._mismatch, scales[0], out=error[:, : self._pixels])
        if error.shape[1] > self._pixels:
            torch.mul(residual, scales[1], out=error[:, self._pixels :])

    def _begin(self, point: Tensor, residual: Tensor) -> History:
        """Make the first iterate the best one, and room for the history; without an image, r is the latent residual alone."""
        rows, m = len(point), self._slots
        mismatch = residual if self._mismatch is None else self._mismatch
        self._pixels = 0 if self._mismatch is None or self.pixel_weight == 0 else mismatch.shape[1]
        latents = residual.shape[1] if self._pixels == 0 or self.latent_weight > 0 else 0
        lengths = [_dot(part, part)[:, None] for part in (mismatch, residual)]
        image, latent = (torch.where(length > 0, length, 1.0) for length in lengths)
        weights = (self.pixel_weight, self.latent_weight or 1.0)
        scales = ((weights[0] / image.sqrt()).to(point.dtype), (weights[1] / latent.sqrt()).to(point.dtype))
        error = point.new_empty(rows, self._pixels + latents)
        self._write_error(scales, residual, error)
        size = _dot(error, error)
        gram = point.new_zeros(rows, m, m, dtype=torch.float64)
        return History(
            distance=latent[:, 0],
            pixel_scale=scales[0],
            latent_scale=scales[1],
            point=point.clone(),
            residual=residual.clone(),
            error=error,
            both=error.new_empty(rows, 2, error.shape[1]),
            size=size,
            first=size.clone(),
            rate=point.new_ones(rows),
            steps=point.new_zeros(rows, m, point.shape[1]),
            drops=point.new_zeros(rows, m, point.shape[1]),
            changes=error.new_zeros(rows, m, error.shape[1]),
            gram=gram,
            slopes=gram.new_zeros(rows, m),
            weights=gram.new_zeros(rows, m),
            doubt=gram.new_zeros(rows),
        )

    def _remember(self, state: History, point: Tensor, residual: Tensor) -> None:
        """Let the differences to the best iterate take the oldest slot, judge the prediction, and go on from the better one."""
        slot, used = self._count % self._slots, min(self._count, self._slots)
        self._count += 1
        change, error = state.both.unbind(1)
        self._write_error((state.pixel_scale, state.latent_scale), residual, error)
        torch.sub(error, state.error, out=change)
        products = torch.bmm(state.both, state.changes[:, :used].mT).double()
        own = torch.bmm(state.both, state.both.mT).double()
        weights = state.weights[:, :used]
        expected = torch.bmm(state.gram[:, :used, :used], weights[..., None])[..., 0] + 2 * products[:, 0]
        surprise = own[:, 0, 0] + (expected * weights).sum(1)
        torch.maximum(surprise, self.decay * state.doubt, out=state.doubt)

        size = own[:, 1, 1]
        better = size < state.size
        rate = state.rate * torch.where(size > state.size + RISE * state.first, 0.5, 2.0)
        torch.clamp(rate, SLOWEST, 1.0, out=state.rate)
        state.gram[:, slot, :used] = products[:, 0]
        state.gram[:, :used, slot] = products[:, 0]
        state.gram[:, slot, slot] = own[:, 0, 0]
        state.slopes[:, :used] = torch.where(better[:, None], products[:, 1], products[:, 1] - products[:, 0])
        state.slopes[:, slot] = torch.where(better, own[:, 0, 1], own[:, 0, 1] - own[:, 0, 0])
        state.changes[:, slot] = change
        state.steps[:, slot] = point - state.point
        state.drops[:, slot] = residual - state.residual
        torch.minimum(size, state.size, out=state.size)
        for kept, new in ((state.point, point), (state.residual, residual), (state.error, error)):
            torch.where(better[:, None], new, kept, out=kept)

    def _weights(self, state: History, moves: Tensor, step: Tensor) -> Tensor:
        """Solve the normal equations for ``(B, used)`` coefficients, 0 where nothing finite comes out."""
        m = moves.shape[1]
        prior = (self.pull * state.doubt / state.distance)[:, None]
        spread = torch.bmm(moves, torch.cat([moves, step[:, None]], dim=1).mT).double()
        system = state.gram[:, :m, :m] + prior[..., None] * spread[..., :m]
        right = state.slopes[:, :m] + prior * spread[..., m]
        diagonal = system.diagonal(dim1=1, dim2=2)
        diagonal.add_(self.ridge * state.size[:, None]).clamp_min_(TINY)
        scale = diagonal.rsqrt()
        system = system * scale[:, :, None] * scale[:, None, :]
        solution = torch.linalg.solve_ex(system, (right * scale)[..., None])[0][..., 0] * scale
        return torch.where(solution.isfinite().all(1, keepdim=True), solution, 0.0)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Give the inner product of each pair of rows, summed in float64."""
    return (one * other).sum(1, dtype=torch.float64)
