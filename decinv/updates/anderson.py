"""Anderson acceleration of the forward step, per sample, from the best iterate and as far as its model can be trusted."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from decinv.problems.base import Evaluation
from decinv.ranges import refuse_below, refuse_not_above
from decinv.updates.base import UpdateRule
from decinv.updates.books import Books, Numbers
from decinv.updates.by_pixels import forget, loosen
from decinv.updates.history import History
from decinv.updates.host import like, near_one, squared_lengths, to_host

STEEP = 5.5
"""Relative residuals this many times the pixel error that they come from say little about the true latent."""

STRANGE = 0.8
"""A first relative residual above this says that E is no approximate inverse of D, so that first steps may go anywhere."""

FALLEN = 0.5
"""Part of its first residual below which that of a sample must fall, for what fits the pixels to be near the true latent too.

Of trained codecs it does within 50 iterations, mostly within 5, of photographs and compressed images too; of others, whose
pixels are fitted by latents further off than E(x), it often does not."""

SOLVED = 0.05
"""Part of its first residual and pixel error below which a sample of such a codec counts as solved."""

LEAST_FALL = 0.1
"""Part of its squared error, times the step size, that a sample must lose in its first step where E is steep."""

ANEW_BEFORE = 8
"""Iterations that must be left for a sample to begin anew, of which the first is its start again."""

PROBE_AFTER = 5
"""Iterations after which the scale of a sample's latent is probed at the earliest."""

PROBE_BELOW = 0.05
"""Part of its first squared error below which that of a sample must be before the scale of its latent is probed."""

PROBE_ABOVE = 1e-3
"""Part of its first latent residual below which that of a sample vanishes without a probe."""

PROBE_BEFORE = 5
"""Iterations that must be left for a probe: it takes two, and what it shows pays from the third after it."""

FEWEST = 4
"""Values of the pixel residual that are remembered for each value of the latent at least, unless it has fewer."""


class Anderson(UpdateRule):
    """``z <- y - sum_i g_i dy_i``, ``y = z - rho T(z)`` from the best iterate z, with g that make the mixed residual small.

    The coefficients of each sample minimise::

        ||r - sum_i g_i dr_i||^2 + pull (e / ||T(z_0)||^2) ||y - z - sum_i g_i dy_i||^2

    over the differences d that the last iterates made to the best one of their time (D. G. Anderson, "Iterative procedures
    for nonlinear integral equations", J. ACM 1965; Walker and Ni, "Anderson acceleration for fixed-point iterations", SIAM
    J. Numer. Anal. 2011). Here r stacks the pixel residual D(z) - x, which is at hand and sees what E discards, and the
    latent residual T(z), each relative to its first norm; the best iterate has the smallest ||r||. A few numbers of each
    sample go to the host in every step, where the coefficients are solved for: so small a system would take longer on a GPU.

    The second term keeps a step as short as the linear model behind the mixing is wrong: e is the squared error of that
    model's last prediction of r (the first predicts no change), or ``decay`` times its predecessor where that is more. Where
    D is linear or nearly so, it vanishes and plain Anderson acceleration remains. A step after which ||r||^2 grew by more
    than a hundredth of its first value is taken back and halves the rho of that sample; every other one raises it by a
    quarter, up to ``lr``.

    A sample whose ||r||^2 did not fall by a fifth in 8 iterations is stuck. It may be that E answers with the wrong sign along
    directions that D hardly shows, so that T(z) leads away from the solution. If its pixel error fell to half by then, r is
    its pixel residual alone from then on, a tenth of ``pull`` is taken, and rho and e begin anew; they do so whenever it is
    stuck again. If not, what is left may be what D cannot make, and nothing changes.

    E undoes D near images like those that it was trained on. Near others its answer may point anywhere, and the first step
    shows it: where ||r||^2 did not fall and at least 8 iterations are left, the sample begins anew at its start, with residuals
    that E gives near another image (``decinv.problems.DecoderProblem``), and its pixel residual alone for r. Where E magnifies
    pixel errors (below), it must fall by a tenth of itself, times ``lr``. Where r is the latent residual alone, or one iterate
    is remembered, none does.

    Where the codec computes in 16 bits or TF32, what E answers to the small pixel errors of later iterations is lost in its
    rounding. With ``magnify`` they are magnified before, and the answer is divided by as much (``DecoderProblem``).

    Decoders normalise what they compute (GroupNorm), and E(D(z)) hardly tells how long z is. An error along z would be found
    last, or never where 16 bits round away what shows of it. So the scale is probed once: after 5 iterations or more, when
    ||r||^2 is below a twentieth of its first value and at least 5 iterations are left, the next point is the best one made
    shorter by ``probe``, and the one after it a plain forward step from there. Nothing predicts these two and nothing is judged
    by them, but their differences tell what the scale does to r. Where T(z) fell below a thousandth of its first value by then,
    r is the latent residual alone, or fewer than 6 iterates are remembered, there is no probe.

    ``prior`` adds a third term, as the mode of a posterior (maximum a posteriori) has it::

        prior (N / K) (||r||^2 / v) ||y - z_0 - sum_i g_i dy_i||^2,   v = ||z - z_0||^2 from ||T(z_0)||^2 to 4 ||T(z_0)||^2

    for N latent and K values of r: the K values that cannot be explained are taken for white noise of their own variance,
    and the latent for a draw around the encoder's with variance v / N. Directions that the image hardly shows stay where they
    start, instead of fitting noise. It pays where D hides a part of the latent; elsewhere it costs a little, and T(z) = 0 is no
    longer what is solved where r cannot vanish. So it is off by default.

    The pixel residual has many more values than the latent. ``pool`` averages it over squares of pixels, which takes most of
    its memory and, of images that D can make, little of what it says. On others T(z) = 0 may not be reached: what D cannot make
    may be orthogonal to what it can, as with a linear codec, but its averages are not. So it is off by default.

    A small latent residual proves little where E magnifies pixel errors, as it does on blurred images. So r is the pixel
    residual alone for samples whose first relative residual is more than 5.5 times their first pixel error (root mean square,
    pixels in [-1, 1]), and they keep their start until the pixel error fell below ``trust`` times its first. Where the first
    relative residual is above 0.8, E does not undo D at all, and the start is kept until both fell below a twentieth. Of all
    others it is kept until the latent residual fell by half, since other codecs' pixels are fitted by latents further off.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1.0,
        history: int = 14,
        pull: float = 0.2,
        decay: float = 0.5,
        pixel_weight: float = 1.0,
        latent_weight: float = 0.3,
        ridge: float = 1e-8,
        trust: float = 0.25,
        prior: float = 0.0,
        pool: int = 1,
        probe: float = 0.1,
        elsewhere: bool = True,
        magnify: bool = True,
    ) -> None:
        """Set step size, memory and regularisation.

        Args:
            params: The one parameter that holds the latents.
            lr: Largest step size rho of a mixed forward step, above 0; E is nearly an inverse of D, so 1 is the natural size.
            history: Number of iterates to mix, at least 1; 1 is the forward step.
            pull: Weight of the prior around the best iterate, at least 0; 0 leaves it out.
            decay: Least factor from one prediction error e_k to the next, in [0, 1).
            pixel_weight: Weight of the pixel residual in r, at least 0; 0 mixes by the latent residual alone.
            latent_weight: Weight of the latent residual in r, at least 0; 0 mixes by the pixel residual alone.
            ridge: Regularisation, above 0: changes of r whose square is below this part of ||r||^2 count as noise.
            trust: Part of its first pixel error below which a point is preferred to the start where E is steep, above 0.
            prior: Weight of the prior around the start, at least 0; 1 takes what is left of r for noise.
            pool: Side of the squares of pixels whose mean stands for them in r, at least 1: 1 remembers each pixel, 3 a ninth
                of the values. Where fewer than 4 values would be left for each value of the latent, each pixel is remembered.
            probe: Part by which a latent is made shorter to learn what its scale does, in [0, 1); 0 leaves that out.
            elsewhere: Whether E may answer near another image where the first step leads away.
            magnify: Whether small pixel errors are magnified before E answers them where the codec computes in 16 bits or TF32.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_not_above(0, lr=lr, ridge=ridge)
        refuse_below(1, history=history, pool=pool)
        refuse_below(0, pull=pull, prior=prior, pixel_weight=pixel_weight, latent_weight=latent_weight)
        if not 0 <= decay < 1:
            raise ValueError(f"Expected `decay` in [0, 1), but got {decay}.")
        if not 0 <= probe < 1:
            raise ValueError(f"Expected `probe` in [0, 1), but got {probe}.")
        if pixel_weight == latent_weight == 0:
            raise ValueError(f"Expected `pixel_weight` or `latent_weight` above 0, but both are {pixel_weight}.")
        if not trust > 0:
            raise ValueError(f"Expected `trust` above 0, but got {trust}; inf trusts every point.")
        super().__init__(params, {"lr": lr})
        self.freedom = float(history > 1)
        self.history = history
        self.pull = pull
        self.decay = decay
        self.pixel_weight = pixel_weight
        self.latent_weight = latent_weight
        self.ridge = ridge
        self.trust = trust
        self.prior = prior
        self.pool = pool
        self.probe = probe
        self.elsewhere = elsewhere
        self.magnifies = magnify
        self.reset(0)

    def reset(self, max_iters: int) -> None:
        """Forget all iterates."""
        self._slots = max(0, min(self.history, max_iters) - 1)
        self._last_probe = max_iters - PROBE_BEFORE if self.probe and self.pixel_weight and self._slots >= PROBE_AFTER else 0
        self._may_begin_anew = bool(self.elsewhere and self.pixel_weight and self._slots and max_iters >= 2 + ANEW_BEFORE)
        self._count = 0
        self.misled = self.probing = None
        self._mismatch: Tensor | None = None
        self._history: History | None = None
        self._books: Books | None = None

    def select(self, keep: Tensor) -> None:
        """Keep some rows of the history."""
        if self._history is not None and self._books is not None:
            kept = keep.cpu().numpy()
            self._history = History(*(part[keep] for part in self._history))
            self._books = Books(*(part[kept] for part in self._books))

    def state_dict(self) -> dict[str, Any]:
        """Add the history."""
        history, books = self._history, self._books
        rows = None if history is None else history._asdict()
        numbers = None if books is None else {name: torch.from_numpy(part) for name, part in books._asdict().items()}
        own = {"pool": self.pool, "slots": self._slots, "count": self._count, "history": rows, "books": numbers}
        limits = {"last_probe": self._last_probe, "may_begin_anew": self._may_begin_anew}
        return super().state_dict() | own | limits

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the history too, in its own precision.

        Raises:
            ValueError: If it was made with another ``pool``.
        """
        if state_dict["pool"] != self.pool:
            raise ValueError(
                f"Expected the state of an update rule with `pool` {self.pool}, but got that of one with {state_dict['pool']}; "
                "set it so, or start the chunk again."
            )
        rows, numbers, device = state_dict["history"], state_dict["books"], self.point.device
        history = None if rows is None else History(**{name: part.to(device) for name, part in rows.items()})
        books = None if numbers is None else Books(**{name: part.cpu().numpy() for name, part in numbers.items()})
        super().load_state_dict(state_dict)
        self._slots, self._count, self._history, self._books = state_dict["slots"], state_dict["count"], history, books
        self._last_probe, self._may_begin_anew = state_dict["last_probe"], state_dict["may_begin_anew"]

    def observe(self, evaluation: Evaluation) -> None:
        """Take the pixel residual, and whether E is steep where the chunk starts."""
        if self.pixel_weight > 0:
            self._mismatch = self._pooled(evaluation.mismatch.to(self.point.dtype))
        if self._books is None or not self._slots:
            self._steep = _steep(evaluation).cpu().numpy()

    def proof(self, first: Evaluation) -> Tensor:
        """Ask for a smaller residual; for a smaller pixel error too where E is steep, for much smaller ones where E is strange.

        With ``prior`` the residual need not fall, since it is not all that is made small.
        """
        strange = first.merit > STRANGE
        residual = torch.where(strange, SOLVED, torch.inf if self.prior > 0 else FALLEN)
        pixels = torch.where(_steep(first), self.trust, torch.where(strange, SOLVED, torch.inf))
        return torch.stack([residual, pixels])

    def update(self) -> None:
        """Compare with the best iterate, remember the differences, and mix, or probe."""
        point, residual = self.point.flatten(1), self.residual.flatten(1)
        with np.errstate(all="ignore"):
            if self._history is None or self._books is None or not self._slots:
                history, books = self._begin(point, residual)
            else:
                history, books = self._remember(self._history, self._books, point, residual)
            self.misled = self._find_misled(books)
            books = books.go_on(self._due(history, books))
            self._history, self._books = history, books
            self._mismatch = None  # an image's memory that the next evaluation need not find taken
            rho = like(self.param_groups[0]["lr"] * books.rate, point)[:, None]
            following = history.point + self._mix(history, books, rho)
            self.probing = books.probing if np.count_nonzero(books.probing) else None
            if self.probing is not None:
                shorter, plain = (1 - self.probe) * history.point, torch.addcmul(point, residual, rho, value=-1)
                first, second = (torch.from_numpy(books.stage == n).to(point.device)[:, None] for n in (1, 2))
                following = torch.where(first, shorter, torch.where(second, plain, following))
        self.point.copy_(following.view_as(self.point))

    @torch.no_grad()
    def begin_anew(self) -> None:
        """Evaluate the best points of the samples that were misled again."""
        assert self._history is not None
        assert self._books is not None
        assert self.misled is not None
        books, rows = self._books, torch.from_numpy(self.misled).to(self.point.device)
        self.point[rows] = self._history.point[rows].view_as(self.point[rows])
        self._books = books._replace(stage=np.where(self.misled, -1.0, books.stage))

    def _find_misled(self, books: Books) -> NDArray[np.bool_] | None:
        """Tell which samples' first step did not lead towards a solution, ``(B,)``; ``None`` for none."""
        if not self._may_begin_anew or self._count != 1:
            return None
        least = LEAST_FALL * min(self.param_groups[0]["lr"], 1.0) * books.steep
        lost: NDArray[np.bool_] = (books.size >= (1 - least) * books.first) & (books.size > 0)
        return lost if np.count_nonzero(lost) else None

    def _due(self, history: History, books: Books) -> NDArray[np.bool_]:
        """Tell of which samples a probe begins with the next point, ``(B,)``."""
        if not PROBE_AFTER <= self._count + 1 <= self._last_probe:
            return np.zeros(len(books.stage), np.bool_)
        due: NDArray[np.bool_] = (books.stage == 0) & (books.size < PROBE_BELOW * books.first)
        if np.count_nonzero(due):
            due &= squared_lengths(history.drops[:, 0]) > PROBE_ABOVE**2 * books.distance
        return due

    def _mix(self, history: History, books: Books, rho: Tensor) -> Tensor:
        """Give the mixed step ``(B, N)`` from the best iterate with step sizes ``(B, 1)``, and note its coefficients."""
        used = min(self._count, self._slots)
        moves = torch.addcmul(history.steps[:, : 1 + used], history.drops[:, : 1 + used], rho[..., None], value=-1)
        if not used:
            return moves[:, 0]
        unit = near_one(books.distance)[:, None, None]
        moves.mul_(like(unit, moves))
        parts = np.ones((len(moves), 1, 1 + used))
        spread = to_host(torch.bmm(moves, moves.mT)) / unit**2
        away, prior = self._away(history, moves, unit), self.prior * moves.shape[2] / history.error.shape[1]
        parts[:, 0, 1:] = -books.mix(spread, self.pull, self.ridge, away, prior)
        return torch.bmm(like(parts, moves), moves)[:, 0] / like(unit[:, 0], moves)

    def _away(self, history: History, moves: Tensor, unit: Numbers) -> Numbers | None:
        """Give the inner products of the way from the start to the best iterate with moves and itself, if asked for.

        Args:
            history: The history.
            moves: The moves times ``unit``.
            unit: What lengths are multiplied by, ``(B, 1, 1)``.
        """
        if not self.prior:
            return None
        way = (history.point - history.start)[:, None] * like(unit, moves)
        return (to_host(torch.bmm(torch.cat([moves, way], dim=1), way.mT)) / unit**2)[..., 0]

    def _pooled(self, mismatch: Tensor) -> Tensor:
        """Average a pixel residual ``(B, ..., H, W)`` over squares, ``(B, K)``, such that a constant one keeps its length."""
        few = mismatch.numel() < FEWEST * self.pool**2 * self.point.numel()
        if self.pool == 1 or mismatch.ndim < 4 or few:
            return mismatch.flatten(1)
        pooled: Tensor = functional.avg_pool2d(mismatch.flatten(1, -3), self.pool, ceil_mode=True).flatten(1)
        return pooled * self.pool

    def _error(self, residual: Tensor, ratio: Tensor) -> Tensor:
        """Put the weighted residuals side by side, ``(B, K)``, in units of their own."""
        if self._mismatch is None:
            return residual * ratio
        return torch.cat([self._mismatch, residual * ratio], dim=1) if self.latent_weight > 0 else self._mismatch

    def _begin(self, point: Tensor, residual: Tensor) -> tuple[History, Books]:
        """Make the first iterate the best one, and room for the history."""
        rows, m = len(point), self._slots
        steep = np.zeros(rows, np.bool_) if self._mismatch is None else self._steep
        mismatch = residual if self._mismatch is None else self._mismatch
        squares = np.stack([squared_lengths(part) for part in (mismatch, residual)])
        pixel, latent = np.where(squares > 0, squares, 1.0)
        if self._mismatch is None:  # r is the latent residual alone
            pixel_unit, latent_unit = np.zeros(rows), (self.latent_weight or 1.0) ** 2 / latent
            unit = latent_unit / near_one(latent) ** 2
        else:
            pixel_unit, latent_unit = self.pixel_weight**2 / pixel, self.latent_weight**2 / latent
            latent_unit[steep] = 0.0
            unit = pixel_unit
        ratio = like(np.sqrt(latent_unit / unit), point)[:, None]
        error = self._error(residual, ratio)
        size = squared_lengths(error) * unit
        none = np.zeros((rows, m))
        books = Books(
            *(latent, unit, size, size, np.ones(rows)),
            *(np.zeros((rows, m, m)), none, none.copy(), np.zeros(rows)),
            *(size, np.zeros(rows), np.ones(rows), np.zeros(rows), steep.astype(np.float64)),
        )
        history = History(
            ratio=ratio,
            start=point.clone() if self.prior else point.new_zeros(rows, 0),
            point=point.clone(),
            steps=point.new_zeros(rows, 1 + m, point.shape[1]),
            drops=point.new_zeros(rows, 1 + m, point.shape[1]),
            error=error.clone(),
            changes=error.new_zeros(rows, m, error.shape[1]),
        )
        history.drops[:, 0] = residual
        return history, books

    def _remember(self, history: History, books: Books, point: Tensor, residual: Tensor) -> tuple[History, Books]:
        """Let the differences to the best iterate take the oldest slot, judge the prediction, and go on from the better one."""
        slot, used = self._count % self._slots, min(self._count, self._slots)
        self._count += 1
        error = self._error(residual, history.ratio)
        change = error - history.error
        products = to_host(history.products(change, used)) * books.unit[:, None, None]
        size = squared_lengths(error) * books.unit
        better = size < books.size
        books = books.note(products, size, slot, self.decay)
        history.changes[:, slot] = change
        torch.sub(point, history.point, out=history.steps[:, 1 + slot])
        torch.sub(residual, history.drops[:, 0], out=history.drops[:, 1 + slot])
        count = np.count_nonzero(better)
        if count == len(better):
            history.point.copy_(point)
            history.drops[:, 0] = residual
            history = history._replace(error=error)
        elif count:
            chosen = torch.from_numpy(better).to(point.device)[:, None]
            for kept, new in ((history.point, point), (history.drops[:, 0], residual), (history.error, error)):
                torch.where(chosen, new, kept, out=kept)
        pixels, used = error.shape[1] - (point.shape[1] if self.latent_weight else 0), min(self._count, self._slots)
        books = forget(history, books, residual, pixels, used)
        if self._mismatch is not None and self.latent_weight:
            books = loosen(history, books, pixels, used, self.pixel_weight**2)
        return history, books


def _steep(first: Evaluation) -> Tensor:
    """Whether the encoder makes much of the small pixel error of a sample's start, ``(B,)``."""
    error = first.mismatch.flatten(1).square().mean(1)
    return (first.merit.square() > STEEP**2 * error) & (error > 0)
