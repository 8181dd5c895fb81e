"""The solver: runs an update rule on a problem, one chunk at a time, and knows when each sample is done."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from decinv.ledger import Indices, Ledger
from decinv.problems.base import Evaluation, Problem, norms
from decinv.result import Result
from decinv.status import Status
from decinv.stopping import Stopping
from decinv.updates.base import UpdateRule, refuse_forgetful

AKAIKE = 2.0
"""Mean squared errors that a fit must lose for each direction that it adds (Akaike, IEEE Trans. Autom. Control 1974)."""


@dataclass(frozen=True)
class Observation:
    """What the last iteration saw: ``A`` active samples of the chunk.

    Attributes:
        rows: Their indices ``(A,)`` in the chunk, on the CPU.
        point: The points ``(A, ...)`` that were evaluated, in scaled latents.
        merit: Their relative residuals ``(A,)``, on the CPU.
        mismatch: Their mean squared pixel errors ``(A,)``, on the CPU.
        better: Which of the points are the best ones of their samples so far, bool ``(A,)``, on the CPU.
    """

    rows: Tensor
    point: Tensor
    merit: Tensor
    mismatch: Tensor
    better: Tensor


class Solver:
    """Solve a problem for a chunk of samples; each sample stops on its own and then costs nothing.

    The points of the samples that still run are the rows of one parameter. A sample that is done leaves them, and the update
    rule's state with it, so what becomes of a sample does not depend on its batch mates. Reported is the best point that was
    evaluated, with its own residual: the one that converged, or else that of the smallest sum of squared residual and squared
    pixel error, each relative to its first, among the start and those points that have the proof that the rule asks for. Where
    the rule fits a new direction in each iteration, a later point must be better by what Akaike's criterion asks for: less is
    what fitting noise gains, such as that of rounding to 8 bits, at the latent's cost. That takes the pixels' errors for
    independent. Those of images that were compressed, or that no latent makes, are alike at neighbouring pixels, and fitting
    them gains more. So a later point must be better by another 2 % for each iteration, times that correlation, unless its
    residual fell by a tenth in each, as that of a sample that converges does. Where the rule finds that a sample's residuals
    lead away, the problem is asked to take them in another way (``Problem.change_reference``), if it has one. Steps and stops
    go by these then; what is reported is the residual as it was stated, which takes one more evaluation at the end.

    Once all samples are done, those that would report their start get the ``gradient_steps`` of the stopping: the rule starts
    anew at their starts on the problem's ``descent``, and better points need no proof. Others are untouched by that. Likewise
    those that stalled near a solution begin anew at the starts of the problem's ``restart``, up to ``restarts`` times.

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
        self.last: Observation | None = None
        self.settled = False
        self._ledger = Ledger(0, stopping)

    def start(self, problem: Problem) -> None:
        """Begin a new chunk at the problem's start."""
        first = problem.start()
        count = len(first)
        self.settled = False
        self.problem = problem
        problem.magnifies = self.rule.magnifies
        self.iteration = 0
        self._attempt = 0
        self._again: Tensor | None = None
        self.last = None
        self.point.grad = None
        self.point.data = first.clone()
        self.rule.reset(self.stopping.max_iters)
        self._best = torch.full_like(first, torch.nan)
        self._ledger = Ledger(count, self.stopping)
        self.settled = True

    def state_dict(self) -> dict[str, Any]:
        """Give everything that the chunk's next steps depend on but the problem: tensors, numbers, strings, dicts and lists.

        The tensors are those that the next step changes, not copies.

        Raises:
            RuntimeError: If no chunk has begun, or an exception broke off a step in its middle.
            ValueError: If the rule's state lacks what it remembers.
        """
        if not self.settled:
            raise RuntimeError(
                "Expected the solver to be between two steps, but no chunk has begun or a step was broken off; call `start`."
            )
        state = self.rule.state_dict()
        refuse_forgetful(self.rule, state)
        rule = {"rule_name": self.rule.name, "rule": state}
        chunk = {"iteration": self.iteration, "limit": self._ledger.limit, "point": self.point.detach(), "best": self._best}
        again = {"attempt": self._attempt, "again": self._again, "problem": self.problem.state_dict()}
        return chunk | self._ledger.state_dict() | rule | again

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
        device = self.point.device
        iteration, point, best = state["iteration"], state["point"].to(device), state["best"].to(device)
        attempt, again = state["attempt"], state["again"]
        self.rule.load_state_dict(state["rule"])  # which changes nothing if it raises
        self.settled = False
        self.iteration, self._attempt, self.point.data, self._best = iteration, attempt, point, best
        self._ledger.load_state_dict(state)
        self._ledger.limit = state["limit"]
        rows, count = torch.from_numpy(self._ledger.rows).to(device), len(best)
        if again is not None:
            self._again = again.to(device)
            other = self._other_problem(self._again, self._attempt)
            assert other is not None
            self.problem = other
            rows, count = torch.searchsorted(self._again, rows), len(self._again)
        if len(rows) < count:
            self.problem.select(rows)
        self.problem.load_state_dict(state["problem"])
        self.settled = True

    def clear(self) -> None:
        """Forget the chunk, and let go of its memory."""
        self.settled = False
        self.last = None
        self.point.grad = None
        self.point.data = self.point.data.new_empty(0)
        self.rule.reset(0)
        for name in ("problem", "_best"):
            vars(self).pop(name, None)
        self._ledger = Ledger(0, self.stopping)

    @property
    def done(self) -> bool:
        """Whether every sample of the chunk is done."""
        return self.active == 0

    @property
    def active(self) -> int:
        """Number of samples that still run."""
        return len(self._ledger.rows)

    @torch.no_grad()
    def step(self, apply: Callable[[], object] | None = None) -> None:
        """Run one iteration: evaluate, drop what is done, and update the rest.

        Args:
            apply: What makes the update rule step; a trainer passes its own wrapper of the rule's ``step``.
        """
        began = time.perf_counter()
        rows = self._ledger.rows
        apply = self.rule.step if apply is None else apply
        evaluation = self.problem.evaluate(self.point.detach())
        evaluation.check(self.point, type(self.problem).__name__)
        # Here the solver waits for the device, once a step: a few numbers of each sample, from which all else follows.
        freedom, merits = self.rule.freedom, evaluation.merit
        alike = self.problem.likeness(evaluation.mismatch) if freedom else torch.zeros_like(merits)
        sizes = torch.stack([merits, norms(evaluation.mismatch), alike]).cpu()
        merit, length, likeness = sizes.numpy().astype(np.float64)
        pixels = max(evaluation.mismatch.shape[1:].numel(), 1)
        mismatch = np.square(length) / pixels
        self.settled = False
        self.iteration += 1
        if self.iteration == 1:
            self._ledger.bar = np.square(self.rule.proof(evaluation).double().cpu().numpy())
        with np.errstate(all="ignore"):
            better, status = self._ledger.judge(self.iteration, merit, mismatch, AKAIKE * freedom / pixels, likeness)
        chosen = np.zeros(len(rows), np.bool_)
        chosen[better] = True
        self.last = Observation(
            rows=torch.from_numpy(rows),
            point=self.point.detach().clone(),
            merit=sizes[0],
            mismatch=torch.from_numpy(mismatch.astype(np.float32)),
            better=torch.from_numpy(chosen),
        )
        self._remember(rows, better, self.point.detach())
        evaluation = self._drop_finished(evaluation, status)
        if self.active:
            self.point.grad = evaluation.residual.to(self.point.dtype)
            self.rule.observe(evaluation)
            apply()
            if self.rule.probing is not None:
                self._ledger.excuse(self.rule.probing)
            misled = self.rule.misled
            if misled is not None and self.problem.change_reference(torch.from_numpy(misled)):
                self.rule.begin_anew()
                self._ledger.begin_anew(misled)
            if self.iteration == self.stopping.max_iters and self._again is None:
                self._finish_with_last_iterate()
        self._ledger.seconds[rows] += (time.perf_counter() - began) / max(len(rows), 1)
        if not self.active:
            self._restate()
            self._try_again()
        self.settled = True

    def _restate(self) -> None:
        """Measure the residuals of the samples that were misled as the problem states them."""
        rows = np.flatnonzero(self._ledger.moved)
        if not len(rows):
            return
        began = time.perf_counter()
        index = torch.from_numpy(rows).to(self.point.device)
        merit = self.problem.stated_merit(self._best[index], index).cpu().numpy().astype(np.float64)
        self._ledger.restate(rows, merit, time.perf_counter() - began)

    def _try_again(self) -> None:
        """Begin another attempt with the samples that it is for, if one is left."""
        stopping, ledger = self.stopping, self._ledger
        descends, steps = stopping.gradient_steps > 0, stopping.gradient_steps or stopping.max_iters
        rows = ledger.at_start if descends else ledger.near
        if self._attempt == (1 if descends else stopping.restarts) or not len(rows):
            return
        again = torch.from_numpy(rows).to(self.point.device)
        other = self._other_problem(again, self._attempt + 1)
        if other is None:
            return
        self.problem, self._again, self._attempt = other, again, self._attempt + 1
        self.point.grad = None
        self.point.data = self._best[again] if descends else other.start().clone()
        ledger.reopen(rows, self.iteration, steps)
        ledger.extra[rows] += descends  # the probe of the step size
        self.rule.reset(steps)

    def _other_problem(self, rows: Tensor, attempt: int) -> Problem | None:
        """State the problem of a later attempt for some samples of the chunk; ``None`` where there is none."""
        return self.problem.descent(rows) if self.stopping.gradient_steps else self.problem.restart(rows, attempt)

    def _remember(self, rows: Indices, better: Indices, point: Tensor) -> None:
        """Take some of the points ``(A, ...)`` of the samples ``rows`` for their best."""
        if len(better) == len(self._best):
            self._best.copy_(point)
        elif len(better):
            chosen, from_here = (torch.from_numpy(index).to(point.device) for index in (rows[better], better))
            self._best[chosen] = point[from_here]

    def _drop_finished(self, evaluation: Evaluation, status: Indices) -> Evaluation:
        """Compact the active samples: those with another status than RUNNING leave."""
        left = self._ledger.finish(status)
        if len(left) == len(status):
            return evaluation
        keep = torch.from_numpy(left).to(self.point.device)
        self.rule.select(keep)
        self.problem.select(keep)
        self.point.grad = None
        self.point.data = self.point.data[keep]
        return evaluation.select(keep)

    def _finish_with_last_iterate(self) -> None:
        """Report the iterate after the last update for all samples that still run; where it is finite, else the best one."""
        point, rows = self.rule.solution(), self._ledger.rows
        merit = self.problem.evaluate(point).merit.cpu().numpy().astype(np.float64)
        self._remember(rows, self._ledger.finish_at(merit), point)

    def result(self) -> Result:
        """Give the outcome of the chunk; samples that still run have the status RUNNING and their best so far."""
        books = self._ledger
        residual = torch.from_numpy(books.residual.astype(np.float32))
        return Result(
            latent=self.problem.latent(self._best),
            residual=torch.where(residual.isfinite(), residual, torch.nan),
            history=torch.from_numpy(books.history[: self.iteration].copy()),
            iterations=torch.from_numpy(books.iterations.copy()),
            evaluations=torch.from_numpy(books.iterations + books.extra),
            seconds=torch.from_numpy(books.seconds.astype(np.float32)),
            status=tuple(Status(code) for code in books.status.tolist()),
        )


def _describe(state: dict[str, Any]) -> str:
    """Say whose state it is."""
    count, *shape = state["best"].shape
    return f"{count} samples of shape {tuple(shape)} under {state['rule_name']} in at most {len(state['history'])} iterations"
