"""The solver against problems with scripted residuals, so that every count and status is known."""

import io
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from decinv.codecs import LinearCodec
from decinv.ledger import BLOW_UP
from decinv.problems.base import Evaluation, Problem
from decinv.problems.decoder import DecoderProblem
from decinv.result import Result
from decinv.solver import Solver
from decinv.status import Status
from decinv.stopping import Stopping
from decinv.updates import Anderson, ForwardStep, InertialKM, Scheduled, WarmupCosine
from decinv.updates.base import UpdateRule
from decinv.updates.stock import as_rule

NAN, INF = math.nan, math.inf


class Scripted(Problem):
    """Give each sample the merits of its script, whatever the point; the last one is repeated."""

    def __init__(self, *scripts: list[float]) -> None:
        self.scripts = scripts
        self.active = list(range(len(scripts)))
        self.calls = 0
        self.rows_evaluated: list[list[int]] = []

    def start(self) -> Tensor:
        return torch.zeros(len(self.scripts), 1, 1, 1)

    def evaluate(self, point: Tensor) -> Evaluation:
        assert len(point) == len(self.active), "the points must be those of the active samples"
        merits = [self.scripts[row][min(self.calls, len(self.scripts[row]) - 1)] for row in self.active]
        self.calls += 1
        self.rows_evaluated.append(list(self.active))
        ones = torch.ones_like(point)
        return Evaluation(-ones, torch.tensor(merits, dtype=torch.float32), ones.expand(-1, 3, 1, 1))

    def select(self, keep: Tensor) -> None:
        self.active = [self.active[index] for index in keep.tolist()]

    def latent(self, point: Tensor) -> Tensor:
        return point


def solve(problem: Problem, rule: Callable[[list[nn.Parameter]], UpdateRule] = ForwardStep, **stopping: object) -> Solver:
    """Solve with steps of +1, so that the point of iteration k is k - 1."""
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, rule([point]), Stopping(**stopping))  # type: ignore[arg-type]
    solver.start(problem)
    while not solver.done:
        solver.step()
    return solver


def test_each_sample_has_its_own_count_and_status() -> None:
    problem = Scripted(
        [1, 0.1, 1e-6],  # converges at the third
        [1, 0.5, 0.5, 0.5, 0.5],  # no progress for 3 iterations after the second
        [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1],  # goes on and on
        [1, NAN],
        [1, 0.5, INF],
        [1, 1.01 * BLOW_UP],
        [1, 2],  # grows without blowing up, so waits for its patience
        [1e-9],  # starts at the solution
    )
    result = solve(problem, max_iters=8, rtol=1e-5, patience=3).result()
    expected = [
        (Status.CONVERGED, 3),
        (Status.STALLED, 5),
        (Status.MAX_ITERS, 8),
        (Status.DIVERGED, 2),
        (Status.DIVERGED, 3),
        (Status.DIVERGED, 2),
        (Status.DIVERGED, 4),
        (Status.CONVERGED, 1),
    ]
    assert list(zip(result.status, result.iterations.tolist(), strict=True)) == expected
    assert result.evaluations.tolist() == result.iterations.tolist()
    assert problem.rows_evaluated[0] == list(range(8))
    assert problem.rows_evaluated[-1] == [2], "a finished sample costs no evaluation"
    assert sum(map(len, problem.rows_evaluated)) == sum(count for _, count in expected)


def test_best_point_is_reported_with_its_own_residual() -> None:
    problem = Scripted([1, 0.5, 0.2, 0.4, 0.6], [1, 0.3, NAN], [2, 3, 4], [0.7, 0.5, 0.25, 0.125, 0.0625])
    result = solve(problem, max_iters=5, patience=None).result()
    torch.testing.assert_close(result.residual, torch.tensor([0.2, 0.3, 2.0, 0.0625]))
    assert result.latent.flatten().tolist() == [2, 1, 0, 4]
    assert result.status == (Status.MAX_ITERS, Status.DIVERGED, Status.DIVERGED, Status.MAX_ITERS)


class Seen(Scripted):
    """One sample with a script of merits and one of pixel errors."""

    def __init__(self, merits: list[float], pixels: list[float]) -> None:
        super().__init__(merits)
        self.pixels = pixels

    def evaluate(self, point: Tensor) -> Evaluation:
        pixel = self.pixels[min(self.calls, len(self.pixels) - 1)]
        evaluation = super().evaluate(point)
        return evaluation._replace(mismatch=pixel * evaluation.mismatch)


class Proof(ForwardStep):
    """A rule whose points must halve the pixel error."""

    def proof(self, first: Evaluation) -> Tensor:
        return torch.stack([torch.full_like(first.merit, INF), torch.full_like(first.merit, 0.5)])


@pytest.mark.parametrize(
    ("merits", "pixels", "best"),
    [
        ([1, 0.2, 0.5], [3, 6, 1], 2),  # 0.1 + 1, 0.004 + 4, 0.025 + 0.11
        ([1, 4, 1.2], [3, 1, 3], 0),  # 0.1 + 1, 1.6 + 0.11, 0.144 + 1
        ([1, 2, 1.2], [3, 1, 3], 1),  # 0.1 + 1, 0.4 + 0.11, 0.144 + 1
        ([1, 0.9999, 0.9998], [3, 2.9999, 2.9998], 0),  # so little proves nothing
        ([1, 0.2, 0.1], [0, 0, 0], 2),
    ],
)
def test_best_is_what_both_residuals_call_best(merits: list[float], pixels: list[float], best: int) -> None:
    result = solve(Seen(merits, pixels), max_iters=3).result()
    assert result.latent.item() == best
    assert result.residual.item() == pytest.approx(merits[best])


def test_a_converged_point_is_reported_whatever_its_pixels_are() -> None:
    result = solve(Seen([1, 0.1, 1e-6], [1, 0.1, 2]), Proof).result()
    assert result.status == (Status.CONVERGED,)
    assert result.latent.item() == 2


def test_falling_pixel_errors_are_progress() -> None:
    result = solve(Seen([1], [0.9**step for step in range(9)]), max_iters=8, patience=2).result()
    assert result.iterations.tolist() == [8]


@pytest.mark.parametrize(("pixels", "best"), [([4, 3, 2.1, 2.2], 0), ([4, 3, 2, 2.2], 2)])
def test_a_rule_that_asks_for_proof_keeps_the_start_without_it(pixels: list[float], best: int) -> None:
    merits = [1, 0.5, 0.4, 0.3]
    assert solve(Seen(merits, pixels), Proof, max_iters=4).result().latent.item() == best
    assert solve(Seen(merits, pixels), max_iters=4).result().latent.item() == 2


class Free(ForwardStep):
    """A rule that fits one new direction in each iteration."""

    freedom = 1.0


@pytest.mark.parametrize(
    ("squares", "best"),
    [
        ([1, 0.5, 0.31], 1),  # of 3 pixels, two mean squares are two thirds of the squared error: 0.31 * 5 / 3 > 0.5
        ([1, 0.5, 0.29], 2),
        ([1, 0.5, 0.31, 0.22], 1),  # and it is owed for each iteration since the best: 0.22 * 7 / 3 > 0.5
        ([1, 0.5, 0.31, 0.21], 3),
    ],
)
def test_a_rule_that_fits_new_directions_must_fit_more_than_noise(squares: list[float], best: int) -> None:
    pixels = [math.sqrt(square) for square in squares]
    options = {"max_iters": len(squares), "rtol": 0.0}
    merits = [1, *[1e-4] * (len(squares) - 1)]
    assert solve(Seen(merits, pixels), Free, **options).result().latent.item() == best
    assert solve(Seen(merits, pixels), **options).result().latent.item() == len(squares) - 1


class Alike(Seen):
    """Pixel errors that neighbours share to some part."""

    def __init__(self, merits: list[float], pixels: list[float], likeness: float) -> None:
        super().__init__(merits, pixels)
        self.correlation = likeness

    def likeness(self, mismatch: Tensor) -> Tensor:
        return torch.full((len(mismatch),), self.correlation)


@pytest.mark.parametrize(
    ("last", "likeness", "merit", "best"),
    [
        (0.214, 0.0, 0.1, 3),
        (0.214, 0.5, 0.1, 1),
        (0.212, 0.5, 0.1, 3),
        (0.212, 1.0, 0.1, 1),
        (0.21, 1.0, 0.1, 3),
        (0.212, 1.0, 0.0811, 1),  # the residual fell by less than a tenth in each of two iterations
        (0.212, 1.0, 0.0809, 3),
    ],
)
def test_errors_that_neighbours_share_must_fall_by_more(last: float, likeness: float, merit: float, best: int) -> None:
    """Two iterations cost 2 / 3 and 0.02 times the likeness each: 0.5 / (1 + 4 / 3 + 0.04 * likeness) is enough."""
    pixels = [math.sqrt(square - 0.1 * residual**2) for square, residual in ((0.5, 0.1), (last, merit))]
    problem = Alike([1, 0.1, 1, merit], [1, pixels[0], 0.95, pixels[1]], likeness)
    assert solve(problem, Free, max_iters=4, rtol=0.0).result().latent.item() == best
    problem = Alike([1, 0.1, 1, merit], [1, pixels[0], 0.95, pixels[1]], likeness)
    assert solve(problem, max_iters=4, rtol=0.0).result().latent.item() == 3


def test_history_is_nan_after_the_end_and_has_what_happened_only() -> None:
    result = solve(Scripted([1, 1e-9], [1, 0.5, 0.25, 1e-9]), max_iters=50).result()
    expected = torch.tensor([[1.0, 1], [1e-9, 0.5], [NAN, 0.25], [NAN, 1e-9]])
    torch.testing.assert_close(result.history, expected, equal_nan=True)


@pytest.mark.parametrize(("patience", "iterations"), [(1, 2), (4, 5), (None, 9)])
def test_patience(patience: int | None, iterations: int) -> None:
    result = solve(Scripted([1, 0.995, 0.995]), max_iters=9, patience=patience).result()
    assert result.iterations.tolist() == [iterations]
    assert result.status == (Status.MAX_ITERS if patience is None else Status.STALLED,)


def test_slow_progress_is_measured_from_the_last_mark() -> None:
    script = [0.997**step for step in range(40)]  # below 0.99 of the mark every fourth iteration
    assert solve(Scripted(script), max_iters=40, patience=4).result().status == (Status.MAX_ITERS,)
    assert solve(Scripted(script), max_iters=40, patience=3).result().iterations.tolist() == [4]


def test_a_residual_at_rtol_has_converged_and_a_zero_one_even_at_rtol_zero() -> None:
    assert solve(Scripted([1, 0.25]), rtol=0.25).result().iterations.tolist() == [2]
    assert solve(Scripted([0.0]), rtol=0.0).result().status == (Status.CONVERGED,)


def test_never_finite_is_nan_and_diverged() -> None:
    result = solve(Scripted([NAN, 0.1], [INF, 0.1], [1, 1e-9])).result()
    assert result.status == (Status.DIVERGED, Status.DIVERGED, Status.CONVERGED)
    assert result.iterations.tolist() == [1, 1, 2]
    assert result.residual[:2].isnan().all()
    assert result.latent[:2].isnan().all()
    assert result.latent[2].item() == 1


def test_a_nan_image_costs_nobody_else_anything(images) -> None:
    codec = LinearCodec()
    batch = images(3)
    alone = [solve(DecoderProblem(codec, batch[i : i + 1])).result() for i in (0, 2)]
    batch[1, 0, 3, 3] = NAN
    result = solve(DecoderProblem(codec, batch)).result()
    assert result.status == (Status.CONVERGED, Status.DIVERGED, Status.CONVERGED)
    assert result.latent[1].isnan().all()
    for index, single in zip((0, 2), alone, strict=True):
        assert result.iterations[index] == single.iterations[0]
        torch.testing.assert_close(result.latent[index], single.latent[0], rtol=0, atol=1e-6)


def test_last_iterate_is_reported_for_one_more_evaluation() -> None:
    problem = Scripted([1, 0.2, 0.4, 0.3], [1, 1e-9], [1, 0.5, 0.4, 1.5], [1, 0.5, 0.4, NAN])
    result = solve(problem, max_iters=3, last_iterate=True, patience=None).result()
    assert result.latent.flatten().tolist() == [3, 1, 3, 2], "where the last is not finite, the best is reported"
    torch.testing.assert_close(result.residual, torch.tensor([0.3, 1e-9, 1.5, 0.4]))
    assert result.status == (Status.MAX_ITERS, Status.CONVERGED, Status.DIVERGED, Status.DIVERGED)
    assert result.evaluations.tolist() == [4, 2, 4, 4]
    assert result.iterations.tolist() == [3, 2, 3, 3]
    assert len(result.history) == 3


@pytest.mark.parametrize(
    ("merits", "last_iterate", "point", "residual", "status", "evaluations"),
    [
        ([1, 0.5, 1e-7, 0.3, 0.2], False, 3, 0.3, Status.CONVERGED, 4),
        ([1e-3, 1e-7, 2 * BLOW_UP, 0.2], False, 2, 2 * BLOW_UP, Status.CONVERGED, 3),
        ([1, 1e-7, NAN, 0.2], False, 1, 1e-7, Status.DIVERGED, 3),
        ([1, 0.5, 0.4, 0.3, 1e-7, 0.2], False, 4, 1e-7, Status.CONVERGED, 5),
        ([1, 0.5, 0.4, 0.3, 1e-7, 0.2], True, 5, 0.2, Status.CONVERGED, 6),
        ([1, 0.5, 0.4, 0.3, 0.2, 1e-7], True, 5, 1e-7, Status.MAX_ITERS, 6),
    ],
)
def test_a_sample_goes_one_update_beyond_its_convergence(
    merits: list[float], last_iterate: bool, point: int, residual: float, status: Status, evaluations: int
) -> None:
    result = solve(Scripted(merits), max_iters=5, rtol=1e-6, patience=None, last_iterate=last_iterate, beyond=True).result()
    assert float(result.latent) == point
    assert result.residual.tolist() == pytest.approx([residual])
    assert result.status == (status,)
    assert result.evaluations.tolist() == [evaluations]


def test_last_iterate_is_the_rule_s_solution_not_its_next_point(images) -> None:
    codec = LinearCodec()
    problem = DecoderProblem(codec, images(2))
    start, target = problem.start(), problem.target
    result = solve(problem, lambda params: InertialKM(params, lr=0.1, momentum=0.3), max_iters=2, last_iterate=True).result()
    residual = codec.encode(codec.decode(start)) - target
    first = start - 0.1 * residual
    point = first + 0.3 * (first - start)
    expected = point - 0.1 * (codec.encode(codec.decode(point)) - target)
    torch.testing.assert_close(result.latent, expected)


def test_one_solver_takes_chunk_after_chunk_of_other_shapes(images) -> None:
    codec = LinearCodec()
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, InertialKM([point], lr=0.2, momentum=0.3), Stopping())
    for count, height, width in ((3, 16, 16), (1, 8, 24), (0, 8, 8), (2, 16, 16)):
        batch = images(count, height, width)
        solver.start(DecoderProblem(codec, batch))
        while not solver.done:
            solver.step()
        fresh = solve(DecoderProblem(codec, batch), lambda params: InertialKM(params, lr=0.2, momentum=0.3)).result()
        result = solver.result()
        assert torch.equal(result.latent, fresh.latent)
        assert torch.equal(result.history.nan_to_num(), fresh.history.nan_to_num())
        assert result.latent.shape == (count, 4, height // 4, width // 4)


def test_no_samples_are_done_at_once() -> None:
    problem = Scripted()
    solver = solve(problem)
    result = solver.result()
    assert problem.calls == 0
    assert result.status == ()
    assert result.history.shape == (0, 0)
    assert result.latent.shape == (0, 1, 1, 1)


def test_running_samples_have_their_best_so_far() -> None:
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, ForwardStep([point]), Stopping())
    solver.start(Scripted([1, 0.5], [1, 1e-9]))
    solver.step()
    solver.step()
    result = solver.result()
    assert result.status == (Status.RUNNING, Status.CONVERGED)
    assert result.residual.tolist() == [0.5, pytest.approx(1e-9)]
    assert solver.active == 1


def test_the_last_step_pairs_points_with_their_own_merits() -> None:
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, ForwardStep([point]), Stopping())
    solver.start(Scripted([1, 0.5, 1e-9], [1, 1e-9]))
    for expected_rows, expected_points in (([0, 1], [0, 0]), ([0, 1], [1, 1]), ([0], [2])):  # each one is the best so far
        solver.step()
        assert solver.last is not None
        assert solver.last.rows.tolist() == expected_rows
        assert solver.last.point.flatten().tolist() == expected_points
        assert solver.last.mismatch.tolist() == pytest.approx([1.0] * len(expected_rows), rel=1e-6)
        assert solver.last.better.tolist() == [True] * len(expected_rows)
    torch.testing.assert_close(solver.last.merit, torch.tensor([1e-9]))


def test_the_last_step_tells_which_points_are_the_best_so_far() -> None:
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, ForwardStep([point]), Stopping())
    solver.start(Scripted([1, 0.5, 0.7, 0.4], [1, 2, 3, 0.5]))
    better = []
    for _ in range(4):
        solver.step()
        assert solver.last is not None
        better.append(solver.last.better.tolist())
    assert better == [[True, True], [True, False], [False, False], [True, True]]


def test_apply_replaces_the_rule_s_step_and_is_not_called_for_nothing() -> None:
    point = nn.Parameter(torch.empty(0))
    rule = ForwardStep([point])
    solver = Solver(point, rule, Stopping())
    solver.start(Scripted([1, 0.5, 1e-9]))
    calls = 0

    def apply() -> None:
        nonlocal calls
        calls += 1
        rule.step()

    while not solver.done:
        solver.step(apply)
    assert calls == 2, "the iteration that sees convergence makes no update"


def test_seconds_are_shared_by_the_active_samples() -> None:
    result = solve(Scripted([1, 1e-9], [1, 0.5, 0.25, 1e-9])).result()
    assert 0 < result.seconds[0] < result.seconds[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iters": 0}, "`max_iters` to be at least 1, but got 0"),
        ({"rtol": -1e-9}, "`rtol` to be at least 0, but got -1e-09"),
        ({"rtol": NAN}, "but got nan"),
        ({"patience": 0}, "`patience` to be at least 1 or null, but got 0"),
    ],
)
def test_stopping_out_of_range_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stopping(**options)  # type: ignore[arg-type]


RULES = {
    "forward": lambda params: ForwardStep(params, 0.5),
    "inertial": lambda params: InertialKM(params, lr=0.3, momentum=0.3),
    "anderson": Anderson,
    "short anderson": lambda params: Anderson(params, history=3),
    "momentum": lambda params: as_rule(torch.optim.SGD(params, lr=0.3, momentum=0.5)),
    "adam": lambda params: as_rule(torch.optim.Adam(params, lr=0.1)),
    "scheduled adam": lambda params: Scheduled(params, lambda p: torch.optim.Adam(p, lr=0.1), WarmupCosine),
}
MAX_ITERS = 30


class Bent(Problem):
    """Samples whose residuals ``a (z + z^3)``, a of their own, take different numbers of iterations; one is never finite."""

    def __init__(self) -> None:
        self.rates = torch.tensor([1.0, 0.03, 0.2, NAN, 0.5]).view(-1, 1, 1, 1)

    def start(self) -> Tensor:
        return torch.randn(5, 4, 2, 3, generator=torch.Generator().manual_seed(0)) * 0.7

    def evaluate(self, point: Tensor) -> Evaluation:
        residual = self.rates * (point + point**3)
        return Evaluation(residual, residual.flatten(1).norm(dim=1), residual[:, :3] + 0.3 * point[:, 1:])

    def select(self, keep: Tensor) -> None:
        self.rates = self.rates[keep]

    def latent(self, point: Tensor) -> Tensor:
        return point


def begin(rule: Callable[[list[nn.Parameter]], UpdateRule], **stopping: object) -> Solver:
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, rule([point]), Stopping(**({"max_iters": MAX_ITERS, "rtol": 0.1} | stopping)))  # type: ignore[arg-type]
    solver.start(Bent())
    return solver


def finish(solver: Solver) -> Result:
    while not solver.done:
        solver.step()
    return solver.result()


def tensors(solver: Solver) -> dict[str, Tensor]:
    return {name: value for name, value in solver.state_dict().items() if isinstance(value, Tensor)}


def through_a_file(state: dict) -> dict:
    file = io.BytesIO()
    torch.save(state, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def assert_equal(found: Result, expected: Result) -> None:
    assert torch.equal(found.latent.nan_to_num(), expected.latent.nan_to_num())
    assert torch.equal(found.residual.nan_to_num(), expected.residual.nan_to_num())
    assert torch.equal(found.history.nan_to_num(), expected.history.nan_to_num())
    assert torch.equal(found.history.isnan(), expected.history.isnan())
    assert torch.equal(found.iterations, expected.iterations)
    assert torch.equal(found.evaluations, expected.evaluations)
    assert found.status == expected.status


@pytest.mark.parametrize("last_iterate", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_a_chunk_continues_in_its_middle_bit_for_bit(name: str, last_iterate: bool) -> None:
    options = {"last_iterate": last_iterate}
    expected = finish(begin(RULES[name], **options))
    ends = sorted(set(expected.iterations.tolist()))
    assert ends[0] == 1
    assert len(ends) > 2, "samples must leave at different times"
    stopped = begin(RULES[name], **options)
    for iteration in range(ends[-1]):
        if iteration in {0, 1, 2, 5, ends[1] - 1, ends[1], ends[-2], ends[-1] - 1}:
            solver = begin(RULES[name], **options)
            solver.load_state_dict(through_a_file(stopped.state_dict()))
            assert (solver.iteration, solver.active) == (stopped.iteration, stopped.active)
            for book, value in tensors(stopped).items():
                torch.testing.assert_close(tensors(solver)[book], value, rtol=0, atol=0, equal_nan=True, msg=book)
            assert_equal(finish(solver), expected)
        stopped.step()
    assert_equal(stopped.result(), expected)


def test_a_continued_chunk_continues_again_and_a_new_one_starts_anew() -> None:
    expected = finish(begin(Anderson))
    solver = begin(Anderson)
    for _ in range(3):
        solver.step()
        state = through_a_file(solver.state_dict())
        solver = begin(Anderson)
        solver.load_state_dict(state)
    assert_equal(finish(solver), expected)
    solver.start(Bent())
    assert_equal(finish(solver), expected)


def test_the_seconds_spent_are_kept() -> None:
    stopped = begin(ForwardStep)
    stopped.step()
    state = through_a_file(stopped.state_dict())
    state["seconds"] += 100
    solver = begin(ForwardStep)
    solver.load_state_dict(state)
    assert (finish(solver).seconds > 100).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule_name": "Adam"}, r"5 samples of shape \(4, 2, 3\) under ForwardStep .* but got .* under Adam"),
        ({"best": torch.zeros(4, 4, 2, 3)}, "but got that of 4 samples"),
        ({"best": torch.zeros(5, 4, 3, 3)}, r"but got that of 5 samples of shape \(4, 3, 3\)"),
        ({"history": torch.zeros(9, 5)}, "at most 30 iterations, but got .* at most 9 iterations; start the chunk again"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change: dict, message: str) -> None:
    stopped = begin(ForwardStep)
    stopped.step()
    solver = begin(ForwardStep)
    with pytest.raises(ValueError, match=message):
        solver.load_state_dict(stopped.state_dict() | change)
    assert_equal(finish(solver), finish(begin(ForwardStep)))


def test_there_is_no_state_before_a_chunk_or_in_the_middle_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    point = nn.Parameter(torch.empty(0))
    with pytest.raises(RuntimeError, match="no chunk has begun or a step was broken off"):
        Solver(point, ForwardStep([point]), Stopping()).state_dict()

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    solver = begin(ForwardStep)
    solver.step()
    with monkeypatch.context() as patch:
        patch.setattr(solver.problem, "evaluate", fail)
        with pytest.raises(KeyboardInterrupt):
            solver.step()
    assert solver.settled, "an evaluation changes nothing"
    assert solver.state_dict()["iteration"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(solver.rule, "update", fail)
        with pytest.raises(KeyboardInterrupt):
            solver.step()
    assert not solver.settled
    with pytest.raises(RuntimeError, match="a step was broken off"):
        solver.state_dict()
    solver.start(Bent())
    assert solver.settled
    solver.clear()
    with pytest.raises(RuntimeError, match="no chunk has begun"):
        solver.state_dict()
