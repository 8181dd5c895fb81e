"""Problems in a row."""

import pytest
import torch

from decinv import Status
from decinv.course import CourseSolver
from decinv.problems.base import Evaluation, Problem, norms
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates import ForwardStep


class Shift(Problem):
    """Find a target, from 0, with a residual of ``rate`` times the error."""

    def __init__(self, target, rate):
        self.target, self.rate = target, rate

    def start(self):
        return torch.zeros_like(self.target)

    def evaluate(self, point):
        error = point - self.target
        return Evaluation(self.rate[:, None] * error, norms(error), error)

    def select(self, keep):
        self.target, self.rate = self.target[keep], self.rate[keep]

    def latent(self, point):
        return point


def course(rates, targets):
    found = []
    for rate, target in zip(rates, targets, strict=True):
        result = yield Shift(torch.full((len(rate), 1), target), rate)
        found.append(result.latent)
    return torch.cat(found, dim=1)


def run(course, max_iters=20, first=None):
    point = torch.nn.Parameter(torch.empty(0))
    solver = CourseSolver(
        Solver(point, ForwardStep([point]), Stopping(max_iters, 1e-3, None)),
        None if first is None else Solver(point, ForwardStep([point], lr=first), Stopping(1, 0.0, None)),
    )
    solver.begin(course)
    seen = []
    while not solver.done:
        solver.step()
        seen.append((solver.iteration, len(solver.last.rows)))
    return solver, solver.result(), seen


def test_each_problem_begins_when_all_samples_are_done():
    rates = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    solver, result, seen = run(course(rates, [1.0, 2.0]))
    torch.testing.assert_close(result.latent, torch.tensor([[1.0, 2.0]] * 2), atol=2e-3, rtol=0)
    # 0.5^k < 1e-3 after 10 updates and 2 * 0.5^k after 11; one evaluation more sees it, and two suffice for the faster sample.
    assert result.iterations.tolist() == [2 + 12, 11 + 2]
    assert [iteration for iteration, _ in seen] == list(range(1, 24))
    assert result.history.shape == (23, 2)
    assert sum(result.problems) == 23
    assert result.history[2:11, 0].isnan().all()
    assert result.status == (Status.CONVERGED,) * 2
    assert len(solver.results) == 2


def test_the_worst_status_and_residual_of_a_sample_count():
    _, result, _ = run(course(torch.tensor([[1.0, 1.0], [1.0, 0.1]]), [1.0, 1.0]), max_iters=5)
    assert result.status == (Status.CONVERGED, Status.MAX_ITERS)
    assert result.residual[0] <= 1e-3 < result.residual[1]


def test_the_first_problem_may_have_its_own_rule_and_stopping():
    solver, result, _ = run(course(torch.ones(2, 1), [1.0, 1.0]), first=0.5)
    assert solver.results[0].iterations.tolist() == [1]
    assert result.latent[0].tolist() == [0.0, 1.0]


def test_no_samples_are_done_at_once():
    solver, result, seen = run(course(torch.ones(2, 0), [1.0, 1.0]))
    assert solver.done
    assert seen == []
    assert result.latent.shape == (0, 2)


def test_clearing_forgets():
    solver, *_ = run(course(torch.ones(1, 1), [1.0]))
    solver.clear()
    assert solver.done
    assert solver.outcome is None


class Counted(Shift):
    """A problem that counts its evaluations, and is broken off within one of them."""

    def __init__(self, target, rate, break_at):
        super().__init__(target, rate)
        self.spent, self.break_at = torch.zeros(()), break_at

    def evaluate(self, point):
        self.spent += 1
        if self.spent == self.break_at:
            raise KeyboardInterrupt
        return super().evaluate(point)

    def state_dict(self):
        return {"spent": self.spent.clone()}

    def load_state_dict(self, state):
        self.spent.copy_(state["spent"])


def test_an_evaluation_that_was_broken_off_is_not_counted():
    problem = Counted(torch.ones(1, 1), torch.tensor([0.5]), break_at=3)

    def alone():
        return (yield problem).latent

    with pytest.raises(KeyboardInterrupt):
        run(alone())
    assert problem.spent == 2
