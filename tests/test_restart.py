"""Samples that stalled near a solution begin anew from other starts; the others never know."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from decinv.data.noise import PROMPTS
from decinv.diffusion import DiffusersPipeline, DPMSolver
from decinv.diffusion.conditioned import conditioned
from decinv.problems import TrajectoryProblem
from decinv.problems.base import Evaluation, Problem
from decinv.problems.trajectory import PERTURBATION
from decinv.result import Result
from decinv.solver import Solver
from decinv.status import Status
from decinv.stopping import Stopping
from decinv.updates import ForwardStep

STARTS = (0.0, 100.0, 200.0)
"""Start of each attempt."""


class Valleys(Problem):
    """Each sample's residual falls by half in each step, down to the floor of its attempt."""

    def __init__(self, floors: Tensor, attempt: int = 0) -> None:
        self.floors = self.all = floors
        self.attempt = attempt

    def start(self) -> Tensor:
        return torch.full((len(self.floors), 1, 1, 1), STARTS[self.attempt])

    def evaluate(self, point: Tensor) -> Evaluation:
        taken = (point - STARTS[self.attempt]).flatten()
        merit = torch.maximum(0.5**taken, self.floors[:, self.attempt])
        return Evaluation(-torch.ones_like(point), merit, merit.view(-1, 1, 1, 1).expand(-1, 3, 1, 1))

    def select(self, keep: Tensor) -> None:
        self.floors = self.floors[keep]

    def latent(self, point: Tensor) -> Tensor:
        return point

    def restart(self, rows: Tensor, attempt: int) -> "Valleys | None":
        if attempt >= len(STARTS):
            return None
        other = Valleys(self.all, attempt)
        other.select(rows)
        return other


FLOORS = torch.tensor(
    [
        [0.0, 0.0, 0.0],  # converges at once
        [0.01, 0.0, 0.0],  # in the second attempt
        [0.01, 0.02, 0.0],  # in the third
        [0.01, 0.005, 0.02],  # never, and the second attempt is the best
        [0.01, 0.02, 0.025],  # never, and the first is
        [0.1, 0.0, 0.0],  # is given up, so far away
    ]
)


def begin(floors: Tensor, **options: int) -> Solver:
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, ForwardStep([point]), Stopping(**{"max_iters": 12, "rtol": 0.001, "patience": 3} | options))
    solver.start(Valleys(floors))
    return solver


def finish(solver: Solver) -> Result:
    while not solver.done:
        solver.step()
    return solver.result()


def test_samples_begin_anew_until_they_converge() -> None:
    result = finish(begin(FLOORS, restarts=2))
    converges, stalls = 11, 11  # 0.5^10 < 0.001; the floor of 0.01 is reached at the eighth and waited at for 3 more
    assert result.status == (Status.CONVERGED,) * 3 + (Status.STALLED,) * 3
    assert result.evaluations[:2].tolist() == [converges, stalls + converges]
    assert result.latent[:3].flatten().tolist() == [10.0, 110.0, 210.0]
    assert result.history[converges:, 0].isnan().all()
    assert result.history[stalls:, 1].isfinite().sum() == converges


def test_the_best_of_all_attempts_is_reported() -> None:
    result = finish(begin(FLOORS, restarts=2))
    torch.testing.assert_close(result.residual[3:], torch.tensor([0.005, 0.01, 0.1]))
    assert result.latent[3:].flatten().tolist() == [108.0, 7.0, 4.0]
    assert result.evaluations[5] == 5 + 3


def test_what_becomes_of_a_sample_does_not_depend_on_the_others() -> None:
    together = finish(begin(FLOORS, restarts=2))
    for row in range(len(FLOORS)):
        alone = finish(begin(FLOORS[row : row + 1], restarts=2))
        assert alone.latent[0] == together.latent[row]
        assert (alone.status[0], alone.evaluations[0]) == (together.status[row], together.evaluations[row])


def test_a_sample_that_has_spent_its_iterations_is_not_begun_anew() -> None:
    result = finish(begin(FLOORS, max_iters=6, restarts=2))
    assert result.status == (Status.MAX_ITERS,) * 6
    assert result.evaluations.tolist() == [6] * 6


@pytest.mark.parametrize("restarts", [0, 1, 2, 9])
def test_there_are_as_many_attempts_as_were_asked_for_and_the_problem_knows(restarts: int) -> None:
    solver = begin(FLOORS[4:5], restarts=restarts)
    starts = []
    while not solver.done:
        first = float(solver.point.detach().flatten()[0])
        starts += [first] if first in STARTS else []
        solver.step()
    assert starts == list(STARTS[: 1 + restarts])


def test_an_attempt_continues_in_its_middle_bit_for_bit() -> None:
    expected = finish(begin(FLOORS, restarts=2))
    stopped = begin(FLOORS, restarts=2)
    while not stopped.done:
        solver = begin(FLOORS, restarts=2)
        solver.load_state_dict(deepcopy(stopped.state_dict()))
        found = finish(solver)
        assert torch.equal(found.latent, expected.latent)
        assert torch.equal(found.evaluations, expected.evaluations)
        assert found.status == expected.status
        stopped.step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"restarts": -1}, "`restarts` to be at least 0, but got -1"),
        ({"restarts": 2, "gradient_steps": 3}, "`restarts` 0 beside"),
        ({"restarts": 2, "last_iterate": True}, "`restarts` 0 beside"),
    ],
)
def test_restarts_that_cannot_be_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stopping(**options)  # type: ignore[arg-type]


def trajectory_problem(count: int) -> TrajectoryProblem:
    pipeline = DiffusersPipeline("bundled")
    process = conditioned(pipeline, DPMSolver(10), [PROMPTS[0]] * count, (4, 4), 8, guidance=3.0, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(count, 10, 4, 4, 4, generator=generator) * torch.linspace(1, 3, count).view(-1, 1, 1, 1, 1)
    return TrajectoryProblem(process, torch.randn(count, 4, 4, 4, generator=generator), start, (1.0,) * 10)


def test_starts_of_trajectories_differ_by_noise_that_doubles_and_knows_no_batch_mates() -> None:
    problem = trajectory_problem(3)
    first, targets = problem.start(), problem.target
    problem.select(torch.tensor([], dtype=torch.long))  # as when all samples are done
    rows = torch.tensor([0, 2])
    sizes = []
    for attempt in (1, 2):
        other = problem.restart(rows, attempt)
        moves = (other.start() - first[rows]).flatten(2)
        spread = first[rows].flatten(2).std(dim=2)
        torch.testing.assert_close(moves[0] / spread[0, :, None], moves[1] / spread[1, :, None], rtol=1e-3, atol=1e-6)
        sizes.append((moves / spread[..., None]).square().mean().sqrt().item())
        assert torch.equal(other.target, targets[rows])
        assert torch.equal(other.rows, rows)
        assert torch.equal(other.start(), other.restart(rows, attempt).start())
    assert sizes == pytest.approx([PERTURBATION, 2 * PERTURBATION], rel=0.15)
