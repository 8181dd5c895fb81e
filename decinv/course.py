"""Problems that are solved one after another, each stated from the results of those before."""

from collections.abc import Callable, Generator

import torch
from torch import Tensor

from decinv.problems.base import Problem
from decinv.result import Result
from decinv.solver import Solver
from decinv.status import Status

Course = Generator[Problem, Result, Tensor]
"""Gives problems, takes their results, and returns what all come to, ``(B, ...)``; each problem has all ``B`` samples."""


class CourseSolver(Solver):
    """A solver of courses. Each problem begins when every sample is done with the one before."""

    def __init__(self, solver: Solver) -> None:
        """Take the solver of one problem.

        Args:
            solver: The solver; its rule and stopping are those of every problem of a course.
        """
        super().__init__(solver.point, solver.rule, solver.stopping)
        self.solver = solver
        self._course: Course | None = None
        self._results: list[Result] = []
        self.outcome: Tensor | None = None

    def begin(self, course: Course) -> None:
        """Start on the first problem of a course, which has at least one."""
        self.clear()
        self.iteration = 0
        self._course = course
        self._start(next(course))

    def _start(self, problem: Problem) -> None:
        self.solver.start(problem)
        while self.solver.done and self._course is not None:  # no samples
            self._advance()

    def _advance(self) -> None:
        """Go on to the next problem, or end."""
        assert self._course is not None
        result = self.solver.result()
        self._results.append(result)
        try:
            problem = self._course.send(result)
        except StopIteration as end:
            self.outcome, self._course = end.value, None
            return
        self._start(problem)

    def clear(self) -> None:
        """Forget the course, and let go of its memory."""
        self.solver.clear()
        self.last, self._course, self._results, self.outcome = None, None, [], None

    @property
    def done(self) -> bool:
        """Whether the course is at its end."""
        return self._course is None

    @property
    def active(self) -> int:
        """Number of samples that still run on the present problem."""
        return 0 if self.done else self.solver.active

    def step(self, apply: Callable[[], object] | None = None) -> None:
        """Run one iteration of the present problem, and go on to the next one where it is done."""
        self.solver.step(apply)
        self.last = self.solver.last
        self.iteration += 1
        if self.solver.done:
            self._advance()

    def result(self) -> Result:
        """Give the outcome of the course so far.

        The latents are what the course came to, or nan; residuals are the largest of a sample, statuses the worst, and
        iterations, evaluations and seconds the sums; histories follow each other.
        """
        results = self._results if self.done else [*self._results, self.solver.result()]
        first = results[0].latent
        return Result(
            latent=torch.full_like(first, torch.nan) if self.outcome is None else self.outcome,
            residual=torch.stack([result.residual for result in results]).amax(0),
            history=torch.cat([result.history for result in results]),
            iterations=torch.stack([result.iterations for result in results]).sum(0),
            evaluations=torch.stack([result.evaluations for result in results]).sum(0),
            seconds=torch.stack([result.seconds for result in results]).sum(0),
            status=tuple(Status(max(statuses)) for statuses in zip(*(result.status for result in results), strict=True)),
        )
