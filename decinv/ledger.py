"""What a solver notes of each sample of a chunk, on the host: how good it is, and when it is done."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decinv.status import Status
from decinv.stopping import Stopping

BLOW_UP = 1000.0
"""A residual this many times the first one counts as diverged, unless the pixel error fell.

One step too long multiplies the residual by what E(D(z)) is scaled by, before a rule can take it back."""

RESIDUAL_WEIGHT = 0.1
"""What a squared residual counts beside a squared pixel error, each relative to its first."""

START = 1.0 + RESIDUAL_WEIGHT
"""The error of the start."""

MARGIN = 0.001
"""Part of its error that a sample must lose before another point is preferred to its start: less proves nothing."""

PROGRESS = 0.99
"""A residual or pixel error must fall below this part of its last mark to count as progress."""

ALIKE = 0.02
"""Part of its squared pixel error that a point must have less for each iteration, if neighbouring pixels err alike at it."""

CONVERGING = 0.9
"""A residual that fell below this part in each iteration shows that a sample converges, whatever its pixels."""

NEAR = 0.03
"""Relative residual below which a sample that stalled may have a solution near by."""

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

TINY = float(np.finfo(np.float32).tiny)


class Ledger:
    """The books of ``B`` samples, ``A`` of which still run.

    Attributes:
        rows: Indices of the running samples, ``(A,)``.
        residual: Relative residual of each sample's best point, ``(B,)``.
        error: Its weighted squared residual plus its squared pixel error, each relative to its first, ``(B,)``.
        first: First squared residual and pixel error, ``(2, B)``.
        bar: Squared residual and pixel error, relative to the first, below which a point is preferred to the start, ``(2, B)``.
        reached: Iteration of each sample's best point, ``(B,)``.
        mark: Squared residual and pixel error at the last progress, ``(2, B)``.
        marked: Iteration of the last progress, ``(B,)``.
        anew: Whether the next residual of a sample is the first one that is taken in another way, ``(B,)``.
        moved: Whether a sample's residual is one that is taken in another way, ``(B,)``.
        met: Whether a sample was converged before it took the update ``beyond``, ``(B,)``.
        iterations: Iterations so far, ``(B,)``.
        extra: Evaluations beyond these, ``(B,)``.
        status: Outcomes as numbers, ``(B,)``.
        waited: Iterations of the chunk that a sample waited for others before it went on, ``(B,)``.
        limit: The last iteration of the samples that run.
        seconds: Seconds of computing, ``(B,)``.
        history: Relative residual at each iteration, ``(longest, B)``, float32; nan where a sample did not run.
    """

    def __init__(self, count: int, stopping: Stopping) -> None:
        """Begin the books of ``count`` samples."""
        self._stopping = stopping
        self.rows: Indices = np.arange(count)
        self.residual = np.full(count, np.inf)
        self.error = np.full(count, np.inf)
        self.first = np.full((2, count), np.inf)
        self.bar = np.full((2, count), np.inf)
        self.reached: Indices = np.zeros(count, np.int64)
        self.mark = np.full((2, count), np.inf)
        self.marked: Indices = np.zeros(count, np.int64)
        self.anew: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.moved: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.met: NDArray[np.bool_] = np.zeros(count, np.bool_)
        self.iterations: Indices = np.zeros(count, np.int64)
        self.extra: Indices = np.zeros(count, np.int64)
        self.waited: Indices = np.zeros(count, np.int64)
        self.limit = stopping.max_iters
        self.status: Indices = np.full(count, int(Status.RUNNING))
        self.seconds = np.zeros(count)
        self.history = np.full((stopping.longest, count), np.nan, np.float32)

    def state_dict(self) -> dict[str, Tensor]:
        """Give all books as tensors that share their memory."""
        return {name: torch.from_numpy(book) for name, book in vars(self).items() if isinstance(book, np.ndarray)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over books of the same samples, on any device."""
        for name in self.state_dict():
            setattr(self, name, state[name].cpu().numpy())

    def judge(self, iteration: int, merit: Floats, mismatch: Floats, price: float, likeness: Floats) -> tuple[Indices, Indices]:
        """Book what an iteration, counted from 1, saw of the running samples.

        Args:
            iteration: The iteration.
            merit: Relative residuals ``(A,)``.
            mismatch: Mean squared pixel errors ``(A,)``.
            price: Part of its squared pixel error that a point must have less than the best one for each iteration between
                them, to be preferred.
            likeness: How alike the errors of neighbouring pixels are, ``(A,)``, which raises that.

        Returns:
            Which of the running samples are at their best point, and the new status of each, ``(A,)``.
        """
        stopping = self._stopping
        rows = self.rows if len(self.rows) < len(self.status) else slice(None)  # which is the same, and faster
        self.history[iteration - 1, rows] = merit
        self.iterations[rows] = iteration - self.waited[rows]
        squares = np.array([np.square(merit), mismatch])
        if iteration == 1:
            self.first = np.maximum(squares, TINY)
        elif np.count_nonzero(self.anew):
            anew = self.anew[rows]
            self.first[0, self.anew] = np.maximum(squares[0, anew], TINY)
            self.mark[0, self.anew], self.anew[:] = np.inf, False
        relative = squares / self.first[:, rows]
        error = RESIDUAL_WEIGHT * relative[0] + relative[1]
        finite = np.isfinite(error)
        converged, wild = merit <= stopping.rtol, ~finite | (relative[0] > BLOW_UP**2) & (relative[1] >= 1)
        if stopping.beyond:
            met = self.met[rows].copy()
            wild &= ~(met & finite)
            self.met[rows] |= converged
            converged = met if iteration < self.limit or stopping.last_iterate else self.met[rows]
        below = relative <= self.bar[:, rows]
        proven = below[0] & below[1] & (error < (1 - MARGIN) * START) | (iteration == 1)
        due = self._due(iteration - self.reached[rows], merit, price, likeness) * relative[1]
        better = (finite & (converged | (proven & (error + due < self.error[rows])))).nonzero()[0]
        here = self.rows[better]
        self.residual[here], self.error[here], self.reached[here] = merit[better], error[better], iteration
        lower = squares < PROGRESS**2 * self.mark[:, rows]
        self.mark[:, rows] = np.where(lower, squares, self.mark[:, rows])
        self.marked[rows] = marked = np.where(lower[0] | lower[1], iteration, self.marked[rows])

        late = iteration - marked >= (math.inf if stopping.patience is None else stopping.patience)
        last = iteration >= self.limit and not stopping.last_iterate
        if not last and not np.count_nonzero(wild | converged | late):
            return better, self.status[rows]  # which is RUNNING
        lost = (error > START) & (self.error[rows] >= START)
        status: Indices = np.select(
            [wild, converged, lost & (late | last), late],
            [int(Status.DIVERGED), int(Status.CONVERGED), int(Status.DIVERGED), int(Status.STALLED)],
            int(Status.MAX_ITERS if last else Status.RUNNING),
        )
        return better, status

    def _due(self, since: Indices, merit: Floats, price: float, likeness: Floats) -> Floats:
        """Give the part of its squared pixel error that each running sample's point owes, ``since`` its best one, ``(A,)``."""
        slow = merit > CONVERGING**since * self.residual[self.rows]
        owed: Floats = (price + ALIKE * likeness * slow) * since
        return owed

    def excuse(self, probing: NDArray[np.bool_]) -> None:
        """Let the next iteration of some of the running samples ``(A,)`` not count as one without progress."""
        self.marked[self.rows[probing]] += 1

    def begin_anew(self, misled: NDArray[np.bool_]) -> None:
        """Let some of the running samples ``(A,)`` take their next residual for their first; that costs them an evaluation."""
        rows = self.rows[misled]
        self.anew[rows] = self.moved[rows] = True
        self.extra[rows] += 1

    def restate(self, rows: Indices, merit: Floats, seconds: float) -> None:
        """Book the residuals of moved samples' best points as they were stated, which took an evaluation of each.

        Their first ones are again those that were stated, which further iterations along gradients are judged by.
        """
        self.residual[rows] = merit
        self.first[0, rows] = np.maximum(np.square(self.history[0, rows].astype(np.float64)), TINY)
        self.extra[rows] += 1
        self.seconds[rows] += seconds / len(rows)
        self.moved[rows] = False

    def finish(self, status: Indices) -> Indices:
        """Let the samples with another status than RUNNING leave; give the indices of the others among those that ran."""
        keep: Indices = (status == int(Status.RUNNING)).nonzero()[0]
        if len(keep) < len(status):
            self.status[self.rows] = status
            self.rows = self.rows[keep]
        return keep

    @property
    def near(self) -> Indices:
        """Samples that stalled near a solution."""
        rows: Indices = ((self.status == int(Status.STALLED)) & (self.residual < NEAR)).nonzero()[0]
        return rows

    @property
    def at_start(self) -> Indices:
        """Samples that are done, not converged, and report their start; that of a start that was not finite is none."""
        done = (self.status != int(Status.RUNNING)) & (self.status != int(Status.CONVERGED))
        rows: Indices = (done & (self.reached == 1) & np.isfinite(self.error)).nonzero()[0]
        return rows

    def reopen(self, rows: Indices, iteration: int, steps: int) -> None:
        """Let samples that were done after ``iteration`` or before run for ``steps`` more, with no proof to bring.

        Args:
            rows: The samples.
            iteration: The chunk's last iteration.
            steps: Iterations that they get, at least 1.
        """
        self.rows = rows
        self.status[rows] = int(Status.RUNNING)
        self.bar[:, rows] = self.mark[:, rows] = np.inf
        self.met[rows] = False
        self.marked[rows] = self.reached[rows] = iteration
        self.waited[rows] = iteration - self.iterations[rows]
        self.limit = iteration + steps

    def finish_at(self, merit: Floats) -> Indices:
        """Let all samples leave after one more evaluation, whose point counts where it is finite; give which these are."""
        finite = np.flatnonzero(np.isfinite(merit))
        self.residual[self.rows[finite]] = merit[finite]
        self.extra[self.rows] += 1
        good = np.square(merit) <= self.first[0, self.rows]
        status = np.where(good, int(Status.MAX_ITERS), int(Status.DIVERGED))
        self.finish(np.where(self.met[self.rows] & np.isfinite(merit), int(Status.CONVERGED), status))
        return finite
