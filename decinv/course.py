"""Problems that are solved one after another, each stated from the results of those before."""

from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor

from decinv.problems.base import Problem
from decinv.result import Result
from decinv.solver import Solver
from decinv.status import Status

Course = Generator[Problem, Result, Tensor]
"""Gives problems, takes their results, and returns what all come to, ``(B, ...)``; each problem has all ``B`` samples."""


class CourseSolver(Solver):
    """A solver of courses. Each problem begins when every sample is done with the one before.

    A course is continued by going through it again, with the stored results of the problems that were done.

    Attributes:
        results: Results of the problems that are done.
        outcome: What the course came to, ``(B, ...)``; ``None`` until it is at its end.
    """

    def __init__(self, solver: Solver, first: Solver | None = None) -> None:
        """Take the solvers of one problem.

        Args:
            solver: The solver, whose rule and stopping are those of every problem.
            first: That of the first problem, if it has a rule and a stopping of its own; it has the same parameter.
        """
        super().__init__(solver.point, solver.rule, solver.stopping)
        self.solvers = (solver if first is None else first, solver)
        self.results: list[Result] = []
        self.outcome: Tensor | None = None
        self._left: list[dict[str, Tensor]] = []
        self._course: Course | None = None

    @property
    def solver(self) -> Solver:
        """The solver of the present problem."""
        return self.solvers[min(len(self.results), 1)]

    def begin(self, course: Course) -> None:
        """Start on the first problem of a course, which has at least one."""
        self.clear()
        self.iteration = 0
        self._course = course
        self._start(next(course))
        self.settled = True

    def start(self, problem: Problem) -> None:
        """Begin the course of one problem."""
        self.begin(_alone(problem))

    def _start(self, problem: Problem) -> None:
        self.solver.start(problem)
        if self.solver.done:  # there are no samples
            self._advance()

    def _advance(self) -> None:
        """Go on to the next problem, or end."""
        assert self._course is not None
        result = self.solver.result()
        self._left.append(self.solver.problem.state_dict())
        self.solver.clear()
        self.results.append(result)
        try:
            problem = self._course.send(result)
        except StopIteration as end:
            self.outcome, self._course = end.value, None
            return
        self._start(problem)

    def clear(self) -> None:
        """Forget the course, and let go of its memory."""
        for solver in self.solvers:
            solver.clear()
        self.settled = False
        self.last, self._course, self.results, self.outcome, self._left = None, None, [], None, []

    def state_dict(self) -> dict[str, Any]:
        """Give all that the course's next steps depend on but the course: that of the solver, and the results so far.

        Raises:
            RuntimeError: If no chunk has begun, or an exception broke off a step in its middle.
        """
        solver = self.solver.state_dict()
        done = [
            {key: value for key, value in vars(result).items() if isinstance(value, Tensor)}
            | {"status": [int(status) for status in result.status], "problem": left}
            for result, left in zip(self.results, self._left, strict=True)
        ]
        return {"done": done, "solver": solver}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken. Call it right after ``begin`` with the course of the same samples.

        Args:
            state: The state, on any device; its tensors are taken over, not copied.

        Raises:
            ValueError: If the state is that of another course; its beginning is lost then.
        """
        assert self._course is not None
        self.settled = False
        problem, device = self.solver.problem, self.point.device
        for stored in state["done"]:
            problem.load_state_dict(stored["problem"])
            status = tuple(Status(code) for code in stored["status"])
            tensors = {key: value for key, value in stored.items() if key not in ("status", "problem")}
            result = Result(status=status, **tensors | {"latent": stored["latent"].to(device)})
            self.solver.clear()
            self.results.append(result)
            self._left.append(stored["problem"])
            try:
                problem = self._course.send(result)
            except StopIteration:
                raise ValueError(
                    f"Expected the state of a course of {len(self.results)} problems, but got that of a longer one; start the "
                    "chunk again."
                ) from None
        if self.results:
            self.solver.start(problem)
        self.solver.load_state_dict(state["solver"])
        self.iteration = sum(len(result.history) for result in self.results) + self.solver.iteration
        self.settled = True

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
        solver, before = self.solver, self.solver.problem.state_dict()
        try:
            solver.step(apply)
        except BaseException:
            if solver.settled:  # within the evaluation, which will be done again
                solver.problem.load_state_dict(before)
            raise
        finally:
            self.settled = solver.settled
        self.last = solver.last
        self.iteration += 1
        if solver.done:
            self.settled = False
            self._advance()
            self.settled = True

    def result(self) -> Result:
        """Give the outcome of the course so far.

        The latents are what the course came to, or nan; residuals are the largest of a sample, statuses the worst, and
        iterations, evaluations and seconds the sums; histories follow each other.
        """
        results = self.results if self.done else [*self.results, self.solver.result()]
        first = results[0].latent
        return Result(
            latent=torch.full_like(first, torch.nan) if self.outcome is None else self.outcome,
            residual=torch.stack([result.residual for result in results]).amax(0),
            history=torch.cat([result.history for result in results]),
            problems=tuple(len(result.history) for result in results),
            iterations=torch.stack([result.iterations for result in results]).sum(0),
            evaluations=torch.stack([result.evaluations for result in results]).sum(0),
            seconds=torch.stack([result.seconds for result in results]).sum(0),
            status=tuple(Status(max(statuses)) for statuses in zip(*(result.status for result in results), strict=True)),
        )


def _alone(problem: Problem) -> Course:
    return (yield problem).latent
