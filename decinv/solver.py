"""The solver: runs an update rule on a problem, one chunk at a time, and knows when each sample is done."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from decinv.problems.base import Evaluation, Problem
from decinv.result import Result
from decinv.status import Status
from decinv.stopping import Stopping
from decinv.updates.base import UpdateRule

BLOW_UP = 10.0
"""A residual this many times the first one counts as diverged."""

PROGRESS = 0.99
"""A residual or pixel error must fall below this part of its last mark to count as progress."""

BOOKS = (
    *("rows", "best", "residual", "first", "error", "bar", "mark", "marked"),
    *("iterations", "extra", "status", "seconds", "history"),
)
"""What a solver notes of a chunk's samples; each is a tensor in the attribute of that name with an underscore before it."""


@dataclass(frozen=True)
class Step:
    """What the last iteration saw: ``A`` active samples of the chunk.

    Attributes:
        rows: Their indices ``(A,)`` in the chunk.
        point: The points ``(A, ...)`` that were evaluated, in scaled latents.
        merit: Their relative residuals ``(A,)``.
        mismatch: Their mean squared pixel errors ``(A,)``.
    """

    rows: Tensor
    point: Tensor
    merit: Tensor
    mismatch: Tensor


class Solver:
    """Solve a problem for a chunk of samples; each sample stops on its own and then costs nothing.

    The points of the samples that still run are the rows of one parameter. A sample that is done leaves them, and the update
    rule's state with it, so what becomes of a sample does not depend on its batch mates. Reported is the best point that was
    evaluated, with its own residual: the one that converged, or else that of the smallest sum of squared residual and squared
    pixel error, each relative to its first, among the start and those points that have the proof that the rule asks for.

    Attributes:
        settled: Whether a chunk has begun and every step that touched its state was finished, so that ``state_dict`` can be
            taken. It stays true while a step evaluates the problem, which is nearly all of its time.
    """

    def __init__(self, point: nn.Parameter, rule: UpdateRule, stopping: Stopping) -> None:
        """Take what stays the same from chunk to chunk.

        Args:
            point: The parameter that will hold the points; its shape changes with the chunk.
            rule: The update rule of that parameter.
            stopping: When a sample is done.
        """
        self.point = point
        self.rule = rule
        self.stopping = stopping
        self.last: Step | None = None
        self.settled = False

    def start(self, problem: Problem) -> None:
        """Begin a new chunk at the problem's start."""
        first = problem.start()
        count = len(first)
        self.settled = False
        self.problem = problem
        self.iteration = 0
        self.last = None
        self.point.grad = None
        self.point.data = first.clone()
        self.rule.reset(self.stopping.max_iters)
        self._rows = torch.arange(count, device=first.device)
        self._best = torch.full_like(first, torch.nan)
        self._residual = first.new_full((count,), torch.inf)
        self._first = first.new_full((2, count), torch.inf)
        self._error = first.new_full((count,), torch.inf)
        self._bar = first.new_full((count,), torch.inf)
        self._mark = first.new_full((2, count), torch.inf)
        self._marked = torch.zeros(count, dtype=torch.long, device=first.device)
        self._iterations = torch.zeros(count, dtype=torch.long, device=first.device)
        self._extra = torch.zeros_like(self._iterations)
        self._status = torch.full_like(self._iterations, int(Status.RUNNING))
        self._seconds = torch.zeros(count, dtype=torch.float64)
        self._history = first.new_full((self.stopping.max_iters, count), torch.nan)
        self.settled = True

    def state_dict(self) -> dict[str, Any]:
        """Give everything that the chunk's next steps depend on but the problem: tensors, numbers, strings, dicts and lists.

        The tensors are those that the next step changes, not copies.

        Raises:
            RuntimeError: If no chunk has begun, or an exception broke off a step in its middle.
        """
        if not self.settled:
            raise RuntimeError(
                "Expected the solver to be between two steps, but no chunk has begun or a step was broken off; call `start`."
            )
        books = {name: getattr(self, f"_{name}") for name in BOOKS}
        rule = {"rule_name": self.rule.name, "rule": self.rule.state_dict()}
        return {"iteration": self.iteration, "point": self.point.detach(), **books, **rule}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken. Call it right after ``start`` with the problem of the same samples.

        Args:
            state: The state, on any device; its tensors are taken over, not copied.

        Raises:
            ValueError: If the state is that of another number or shape of samples, another ``max_iters`` or another update
                rule. The chunk is at its start then.
        """
        expected, found = _describe(self.state_dict()), _describe(state)
        if found != expected:
            raise ValueError(f"Expected the state of {expected}, but got that of {found}; start the chunk again.")
        iteration, point = state["iteration"], state["point"].to(self.point.device)
        books = {f"_{name}": state[name].to(getattr(self, f"_{name}").device) for name in BOOKS}
        self.settled = False
        self.rule.load_state_dict(state["rule"])
        self.iteration, self.point.data = iteration, point
        for name, book in books.items():
            setattr(self, name, book)
        if self.active < len(self._status):
            self.problem.select(self._rows)
        self.settled = True

    def clear(self) -> None:
        """Forget the chunk, and let go of its memory."""
        self.settled = False
        self.last = None
        self.point.grad = None
        self.point.data = self.point.data.new_empty(0)
        self.rule.reset(0)
        for name in ("problem", "_best", "_history"):
            vars(self).pop(name, None)
        self._rows = torch.empty(0, dtype=torch.long)

    @property
    def done(self) -> bool:
        """Whether every sample of the chunk is done."""
        return len(self._rows) == 0

    @property
    def active(self) -> int:
        """Number of samples that still run."""
        return len(self._rows)

    @torch.no_grad()
    def step(self, apply: Callable[[], object] | None = None) -> None:
        """Run one iteration: evaluate, drop what is done, and update the rest.

        Args:
            apply: What makes the update rule step; a trainer passes its own wrapper of the rule's ``step``.
        """
        began = time.perf_counter()
        rows = self._rows
        apply = self.rule.step if apply is None else apply
        evaluation = self.problem.evaluate(self.point.detach())
        mismatch = evaluation.mismatch.flatten(1).square().mean(1)
        self.last = Step(rows, self.point.detach().clone(), evaluation.merit, mismatch)
        self.settled = False
        self.iteration += 1
        if self.iteration == 1:
            self._bar = self.rule.proof(evaluation).square() * mismatch.clamp_min(torch.finfo(mismatch.dtype).tiny)
        evaluation = self._drop_finished(evaluation, self._judge(evaluation.merit, mismatch))
        if self.active:
            self.point.grad = evaluation.residual.to(self.point.dtype)
            self.rule.observe(evaluation)
            apply()
            if self.iteration == self.stopping.max_iters:
                self._finish_with_last_iterate()
        if self.point.is_cuda:
            torch.cuda.synchronize(self.point.device)
        self._seconds[rows.cpu()] += (time.perf_counter() - began) / max(len(rows), 1)
        self.settled = True

    def _judge(self, merit: Tensor, mismatch: Tensor) -> Tensor:
        """Book the merits and pixel errors of the active samples and give their new status ``(A,)``."""
        rows, stopping = self._rows, self.stopping
        self._history[self.iteration - 1, rows] = merit
        self._iterations[rows] = self.iteration
        squares = torch.stack([merit.square(), mismatch])
        if self.iteration == 1:
            self._first.copy_(squares.clamp_min(torch.finfo(merit.dtype).tiny))
        first, mark, marked = self._first[:, rows], self._mark[:, rows], self._marked[rows]
        error = (squares / first).sum(0)
        finite = error.isfinite()
        converged = merit <= stopping.rtol
        proven = (mismatch <= self._bar[rows]) | (self.iteration == 1)
        better = (finite & (converged | (proven & (error < self._error[rows])))).nonzero()[:, 0]
        chosen = rows[better]
        self._best[chosen] = self.point.detach()[better]
        self._residual[chosen] = merit[better]
        self._error[chosen] = error[better]
        lower = squares < PROGRESS**2 * mark
        marked = torch.where(lower.any(0), self.iteration, marked)
        self._mark[:, rows] = torch.where(lower, squares, mark)
        self._marked[rows] = marked

        diverged, relative = int(Status.DIVERGED), squares[0] / first[0]
        status = torch.full_like(rows, int(Status.RUNNING))
        if self.iteration >= stopping.max_iters and not stopping.last_iterate:
            status = torch.where(relative > 1, diverged, int(Status.MAX_ITERS))
        if stopping.patience is not None:
            outcome = torch.where(relative > 1, diverged, int(Status.STALLED))
            status = torch.where(self.iteration - marked >= stopping.patience, outcome, status)
        status = torch.where(converged, int(Status.CONVERGED), status)
        return torch.where(finite & (relative <= BLOW_UP**2), status, diverged)

    def _drop_finished(self, evaluation: Evaluation, status: Tensor) -> Evaluation:
        """Compact the active samples: those with another status than RUNNING leave."""
        keep = (status == int(Status.RUNNING)).nonzero()[:, 0]
        if len(keep) == len(status):
            return evaluation
        self._status[self._rows] = status
        self._rows = self._rows[keep]
        self.rule.select(keep)
        self.problem.select(keep)
        self.point.grad = None
        self.point.data = self.point.data[keep]
        return evaluation.select(keep)

    def _finish_with_last_iterate(self) -> None:
        """Report the iterate after the last update for all samples that still run; where it is finite, else the best one."""
        point = self.rule.solution()
        merit = self.problem.evaluate(point).merit
        rows = self._rows
        finite = merit.isfinite()
        self._best[rows[finite]], self._residual[rows[finite]] = point[finite], merit[finite]
        self._extra[rows] = 1
        bad = ~finite | (merit.square() > self._first[0, rows])
        self._status[rows] = torch.where(bad, int(Status.DIVERGED), int(Status.MAX_ITERS))
        self._rows = rows[:0]

    def result(self) -> Result:
        """Give the outcome of the chunk; samples that still run have the status RUNNING and their best so far."""
        residual = torch.where(self._residual.isfinite(), self._residual, torch.nan)
        return Result(
            latent=self.problem.latent(self._best),
            residual=residual.cpu(),
            history=self._history[: self.iteration].cpu(),
            iterations=self._iterations.cpu(),
            evaluations=(self._iterations + self._extra).cpu(),
            seconds=self._seconds.float(),
            status=tuple(Status(code) for code in self._status.tolist()),
        )


def _describe(state: dict[str, Any]) -> str:
    """Say whose state it is."""
    count, *shape = state["best"].shape
    return f"{count} samples of shape {tuple(shape)} under {state['rule_name']} in at most {len(state['history'])} iterations"
