from functools import partial

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from torch import nn

import decinv
from decinv.benchmark.stress.impaired import as_codec
from decinv.codecs import LinearCodec
from decinv.images.eight_bit import round_to_8_bits
from decinv.metrics.latent import nmse_db
from decinv.problems import DecoderProblem
from decinv.problems.base import Evaluation
from decinv.result import Result
from decinv.solver import Solver
from decinv.status import Status
from decinv.stopping import Stopping
from decinv.updates import Anderson, Scheduled
from decinv.updates.anderson import (
    ANEW_BEFORE,
    FALLEN,
    PROBE_ABOVE,
    PROBE_AFTER,
    PROBE_BEFORE,
    PROBE_BELOW,
    SOLVED,
    STEEP,
    STRANGE,
)
from decinv.updates.books import GROWTH, PROGRESS, RISE
from decinv.updates.by_pixels import FITTED, LOOSE, STUCK

LATENT = {"pixel_weight": 0.0}
PIXELS = {"latent_weight": 0.0}
BOTH = {"pixel_weight": 1.0, "latent_weight": 0.3}
PLAIN = {"pull": 0.0, "history": 20}
MIXINGS = pytest.mark.parametrize("mixing", [LATENT, PIXELS, BOTH], ids=["latent", "pixels", "both"])


def reference(
    problem, steps: int, history: int, lr: float, mixing: dict[str, float], pull: float, decay=0.5, prior=0.0, probe=0.0
):
    """The documented rule by least squares on differences to the best iterate, one row after the other, in numpy.

    The priors around the best iterate and the start are further rows of the same least squares problem.
    """
    weights = [mixing.get("pixel_weight", 1.0), mixing.get("latent_weight", 0.3)]
    ends = []
    for row in range(len(problem.start)):
        points, differences, doubt, rate, coefficients = [problem.start[row]], [], 0.0, 1.0, np.zeros(0)
        best, first, lengths, mark, idle, hold, seen = None, None, None, None, 0, 1.0, np.ones(1)
        stage, astray = 0, problem.astray
        for done in range(1, steps + 1):
            predicted = stage not in {-1, 1, 2}
            everything = np.broadcast_to(points[-1], problem.start.shape)
            residual = problem.residual(everything, astray)[row]
            parts = [problem.mismatch(everything)[row], residual]
            lengths = lengths or [np.linalg.norm(part) for part in parts]
            stacked = np.concatenate([w / n * part for w, n, part in zip(weights, lengths, parts, strict=True)])
            stacked = stacked * seen
            this = [points[-1], residual, stacked]
            if best is None:
                best, first = this, np.sum(stacked**2)
                mark = first
            else:
                changes = np.stack([d[2] for d in differences], axis=1) if differences else np.zeros((len(stacked), 0))
                if predicted:
                    doubt = max(np.sum((stacked - best[2] + changes @ coefficients) ** 2), decay * doubt)
                differences = [*differences, [new - old for new, old in zip(this, best, strict=True)]][-(history - 1) :]
                rise = np.sum(stacked**2) - np.sum(best[2] ** 2)
                best = this if rise < 0 else best
                if predicted:
                    rate = min(1.0, rate * (0.5 if rise > RISE * first else GROWTH))
                    idle = 0 if np.sum(best[2] ** 2) < PROGRESS * mark else idle + 1
                    mark = mark if idle else np.sum(best[2] ** 2)
                fitted = np.sum(best[2][: len(parts[0])] ** 2) < FITTED * weights[0] ** 2
                if idle == STUCK and all(weights):
                    idle = 0
                    if fitted:
                        seen = np.repeat([1.0, 0.0], [len(part) for part in parts])
                        best, *differences = [[d[0], d[1], d[2] * seen] for d in (best, *differences)]
                        doubt = first = mark = np.sum(best[2] ** 2)
                        rate, hold = 1.0, LOOSE
            if done == 2 and best[0] is points[0] and astray.any() and steps >= 2 + ANEW_BEFORE:
                astray, stage = None, -1
                points.append(best[0])
                continue
            if stage == -1:
                stage, seen = 0, np.repeat([1.0, 0.0], [len(part) for part in parts])
                best = [best[0], residual, best[2] * seen]
                differences = []
                doubt = first = mark = np.sum(best[2] ** 2)
                rate, lengths[1] = 1.0, np.linalg.norm(residual)
            due = probe and PROBE_AFTER <= done <= steps - PROBE_BEFORE and np.sum(best[2] ** 2) < PROBE_BELOW * first
            due = due and np.linalg.norm(best[1]) > PROBE_ABOVE * lengths[1]
            stage += 1 if stage in {1, 2} or (not stage and due) else 0
            if stage in {1, 2}:
                points.append((1 - probe) * best[0] if stage == 1 else this[0] - lr * rate * this[1])
                continue
            step = -lr * rate * best[1]
            if differences:
                moves = np.stack([d[0] - lr * rate * d[1] for d in differences], axis=1)
                changes = np.stack([d[2] for d in differences], axis=1)
                weight = np.sqrt(pull * hold * doubt) / lengths[1]
                away = best[0] - points[0]
                share = len(away) / sum(len(part) for w, part in zip(weights, parts, strict=True) if w)
                variance = np.clip(np.sum(away**2), lengths[1] ** 2, 4 * lengths[1] ** 2)
                far = np.sqrt(prior * share * np.sum(best[2] ** 2) / variance)
                left = np.concatenate([changes, weight * moves, far * moves])
                right = np.concatenate([best[2], weight * step, far * (step + away)])
                coefficients = np.linalg.lstsq(left, right, rcond=None)[0]
                step = step - moves @ coefficients
            points.append(best[0] + step)
        ends.append(np.stack(points))
    return np.stack(ends, axis=1)


def solve(codec: LinearCodec, image: torch.Tensor, **options: float) -> Result:
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, Anderson([point], **options), Stopping(max_iters=50, rtol=1e-5))
    solver.start(DecoderProblem(codec, image))
    while not solver.done:
        solver.step()
    return solver.result()


@MIXINGS
@pytest.mark.parametrize("history", [2, 3, 5])
def test_without_pull_it_is_least_squares_on_differences(linear, history: int, mixing: dict[str, float]) -> None:
    problem = linear(eigenvalues=tuple(np.linspace(0.2, 1.1, 8)))
    ours = problem.run(lambda p: Anderson(p, 0.8, history=history, pull=0, ridge=1e-14, **mixing), 8)
    np.testing.assert_allclose(np.stack(ours), reference(problem, 8, history, 0.8, mixing, 0.0), rtol=0, atol=1e-8)


@MIXINGS
@pytest.mark.parametrize(("pull", "decay", "history"), [(2.0, 0.5, 20), (0.3, 0.0, 4), (5.0, 0.9, 2)])
def test_the_pull_is_least_squares_with_a_prior(linear, pull: float, decay: float, history: int, mixing) -> None:
    problem = linear(eigenvalues=tuple(np.linspace(0.2, 1.1, 8)))
    ours = np.stack(problem.run(lambda p: Anderson(p, 0.8, history, pull, decay, ridge=1e-14, **mixing), 7))
    np.testing.assert_allclose(ours, reference(problem, 7, history, 0.8, mixing, pull, decay), rtol=0, atol=1e-8)
    assert np.abs(ours - reference(problem, 7, history, 0.8, mixing, 0.0)).max() > 1e-2


@pytest.mark.parametrize(("pull", "history"), [(0.0, 2), (0.3, 3)])
def test_a_stuck_sample_whose_pixels_are_fitted_is_mixed_by_them_alone(linear, pull: float, history: int) -> None:
    """Pixels and residual disagree about the solution, so that both together stop falling; of the last row, by a lot."""
    problem = linear(eigenvalues=tuple(np.linspace(0.2, 1.1, 8)))
    noise, made = np.random.default_rng(1).normal(size=(3, 16)), problem.mismatch
    sizes = np.linalg.norm(made(problem.start), axis=1) / np.linalg.norm(noise, axis=1) * [0.3, 0.4, 3.0]
    problem.mismatch = lambda point: made(point) - noise * sizes[:, None]
    steps = 4 * STUCK
    ours = np.stack(problem.run(lambda p: Anderson(p, 0.8, history, pull, ridge=1e-14), steps))
    np.testing.assert_allclose(ours, reference(problem, steps, history, 0.8, BOTH, pull), rtol=0, atol=1e-5)
    assert problem.rule._books.hold.tolist() == [LOOSE, LOOSE, 1.0]


LONG_ENOUGH = 2 + ANEW_BEFORE


@pytest.mark.parametrize("mixing", [PIXELS, BOTH], ids=["pixels", "both"])
@pytest.mark.parametrize(("pull", "prior", "history"), [(0.0, 0.0, 20), (0.3, 0.0, 4), (2.0, 5.0, 6)])
def test_a_row_that_its_first_step_leads_away_begins_anew(linear, pull: float, prior: float, history: int, mixing) -> None:
    """The residuals of the first and the last row are wrong until then; those of the other never."""
    problem, steps = linear(eigenvalues=tuple(np.linspace(0.2, 1.1, 8))), LONG_ENOUGH
    problem.astray = np.array([True, False, True])
    rule = partial(Anderson, lr=0.8, history=history, pull=pull, prior=prior, ridge=1e-14, probe=0.0, **mixing)
    ours = np.stack(problem.run(rule, steps))
    np.testing.assert_array_equal(ours[2, [0, 2]], problem.start[[0, 2]])
    np.testing.assert_allclose(ours, reference(problem, steps, history, 0.8, mixing, pull, prior=prior), rtol=0, atol=1e-7)
    problem.astray = np.zeros(3, np.bool_)
    plain = np.stack(problem.run(rule, steps))
    np.testing.assert_array_equal(ours[:, 1], plain[:, 1])
    far = np.linalg.norm(ours - problem.truth, axis=2)
    assert prior or (far[-1] < 0.5 * far[0]).all()


@pytest.mark.parametrize(
    ("options", "steps"),
    [(LATENT, LONG_ENOUGH), ({"history": 1}, LONG_ENOUGH), ({"elsewhere": False}, LONG_ENOUGH), ({}, LONG_ENOUGH - 1)],
    ids=str,
)
def test_what_cannot_begin_anew_goes_on(linear, options: dict[str, float], steps: int) -> None:
    problem = linear()
    problem.astray = np.ones(3, np.bool_)
    ours = np.stack(problem.run(lambda p: Anderson(p, **options), steps))
    assert (ours[2] != problem.start).any(axis=1).all()
    np.testing.assert_array_equal(np.stack(problem.run(Anderson, LONG_ENOUGH))[2], problem.start)


@pytest.mark.parametrize(
    ("left", "merit", "lr", "misled"),
    [(0.95, 0.6, 1.0, True), (0.85, 0.6, 1.0, False), (0.95, 0.1, 1.0, False), (0.95, 0.6, 0.3, False), (0.98, 0.6, 0.3, True)],
)
def test_where_the_encoder_is_steep_a_first_step_must_lower_the_error_by_a_tenth(
    left: float, merit: float, lr: float, misled: bool
) -> None:
    """The second row is never misled. Of a first step that is shorter, as much less is asked."""
    point = nn.Parameter(torch.empty(0))
    rule = Anderson([point], lr=lr)
    point.data = torch.zeros(2, 4)
    rule.reset(LONG_ENOUGH)
    for factors in (torch.ones(2), torch.tensor([left, 0.1]).sqrt()):
        point.grad = factors[:, None].expand(2, 4).clone()
        rule.observe(Evaluation(point.grad, torch.full((2,), merit), 0.05 * factors[:, None].expand(2, 12)))
        rule.step()
    assert (rule.misled is not None) == misled
    assert not misled or rule.misled.tolist() == [True, False]


def test_a_row_whose_problem_has_no_other_residual_goes_on(linear) -> None:
    """Whoever makes the steps need not follow."""
    problem = linear()
    problem.matrix = -problem.matrix
    ours = problem.run(Anderson, LONG_ENOUGH)
    np.testing.assert_array_equal(ours, problem.run(lambda p: Anderson(p, elsewhere=False), LONG_ENOUGH))


@MIXINGS
@pytest.mark.parametrize(("prior", "pull", "history"), [(1.0, 0.0, 20), (5.0, 0.3, 4)])
def test_the_prior_around_the_start_is_least_squares_too(linear, prior: float, pull: float, history: int, mixing) -> None:
    problem = linear(eigenvalues=tuple(np.linspace(0.2, 1.1, 8)))
    ours = np.stack(problem.run(lambda p: Anderson(p, 0.8, history, pull, ridge=1e-14, prior=prior, **mixing), 7))
    np.testing.assert_allclose(ours, reference(problem, 7, history, 0.8, mixing, pull, prior=prior), rtol=0, atol=1e-8)
    assert np.abs(ours - reference(problem, 7, history, 0.8, mixing, pull)).max() > 1e-2


@pytest.mark.parametrize(("pull", "prior", "history"), [(0.0, 0.0, 20), (2.0, 0.0, 6), (0.3, 5.0, 9)])
def test_the_probe_shortens_the_latent_and_takes_a_plain_step(linear, pull: float, prior: float, history: int) -> None:
    """The rows come below a twentieth at different times, and the last point of the run is no part of a probe."""
    problem, steps = linear(eigenvalues=tuple(np.linspace(0.2, 1.6, 18))), 16
    rule = partial(Anderson, lr=0.8, history=history, pull=pull, prior=prior, ridge=1e-14)
    ours = np.stack(problem.run(partial(rule, probe=0.3), steps))
    assert set(problem.rule._books.stage) == {3}
    options = (problem, steps, history, 0.8, BOTH, pull)
    np.testing.assert_allclose(ours, reference(*options, prior=prior, probe=0.3), rtol=0, atol=1e-6)
    assert np.abs(ours - reference(*options, prior=prior)).max() > 1e-2
    without = np.stack(problem.run(partial(rule, probe=0.0), steps))
    np.testing.assert_allclose(without, reference(*options, prior=prior), rtol=0, atol=1e-6)


SHORTEST = PROBE_AFTER + PROBE_BEFORE


@pytest.mark.parametrize(
    ("options", "steps"),
    [(LATENT, SHORTEST), ({"history": PROBE_AFTER}, SHORTEST), ({"probe": 0.0}, SHORTEST), ({}, SHORTEST - 1)],
    ids=str,
)
def test_what_cannot_use_a_probe_is_not_probed(linear, options: dict[str, float], steps: int) -> None:
    problem = linear(eigenvalues=tuple(np.linspace(0.6, 1.4, 14)))
    ours = problem.run(lambda p: Anderson(p, **options), steps)
    assert set(problem.rule._books.stage) == {0}
    np.testing.assert_array_equal(ours, problem.run(lambda p: Anderson(p, **(options | {"probe": 0.0})), steps))
    problem.run(Anderson, SHORTEST)
    assert set(problem.rule._books.stage) == {3}


def test_a_sample_that_converges_by_itself_is_not_probed(linear) -> None:
    """Its residual is below a thousandth of its first one when a probe would be due."""
    problem = linear(eigenvalues=(0.9, 0.95, 1.0, 1.05, 1.1))
    ours = problem.run(Anderson, SHORTEST)
    assert set(problem.rule._books.stage) == {0}
    np.testing.assert_array_equal(ours, problem.run(lambda p: Anderson(p, probe=0.0), SHORTEST))


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_probe_is_no_lack_of_progress(scheduled: bool) -> None:
    """Its two points are further off, so that no sample outlived them with the least patience."""
    codec = LinearCodec(tuple(np.linspace(0.2, 1.6, 18)))
    image = codec.decode(0.3 * torch.randn(3, 18, 4, 4, generator=torch.Generator().manual_seed(0)))
    rate = partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0)
    results = []
    for patience in (1, None):
        point = nn.Parameter(torch.empty(0))
        rule = Scheduled([point], Anderson, rate) if scheduled else Anderson([point])
        solver = Solver(point, rule, Stopping(30, patience=patience))
        solver.start(DecoderProblem(codec, image))
        while not solver.done:
            solver.step()
        results.append(solver.result())
    impatient, patient = results
    assert impatient.status == (Status.CONVERGED,) * 3
    assert impatient.history[PROBE_AFTER].min() > 2 * impatient.history[PROBE_AFTER - 1].max()
    assert torch.equal(impatient.latent, patient.latent)


def test_an_error_along_the_latent_that_the_encoder_does_not_see_is_found(linear) -> None:
    """T is blind to how long the solution is, and the pixels nearly so: plain steps never change it, and a probe does."""
    eigenvalues = np.linspace(0.3, 1.5, 11)
    problem, size = linear(rows=1, eigenvalues=(0.0, *eigenvalues)), 12
    along = problem.truth[0] / np.linalg.norm(problem.truth)
    across = np.linalg.qr(np.column_stack([along, np.eye(size)[:, 1:]]))[0][:, 1:]
    problem.matrix = across @ np.diag(eigenvalues) @ across.T
    problem.pixels = np.linalg.qr(problem.pixels)[0] @ (np.eye(size) - 0.9 * np.outer(along, along))

    def left(**options: float) -> float:
        points = problem.run(lambda p: Anderson(p, ridge=1e-14, **options), 24)
        return float(np.abs((np.stack(points)[-1] - problem.truth) @ along)[0])

    first = float(np.abs((problem.start - problem.truth) @ along)[0])
    assert left(probe=0.0) == pytest.approx(first, rel=1e-6)
    assert left() < 1e-6 * first


@pytest.fixture
def noisy(linear):
    """A problem whose pixels hardly show some directions of the latent, and hold noise."""
    problem = linear(eigenvalues=tuple(np.linspace(0.5, 1.1, 12)), rows=20)
    generator = np.random.default_rng(1)
    problem.pixels = np.linalg.qr(problem.pixels)[0] * np.geomspace(1, 0.003, 12)
    noise = 0.1 * generator.normal(size=(len(problem.truth), len(problem.pixels)))
    problem.mismatch = lambda point: (point - problem.truth) @ problem.pixels.T - noise
    return problem


def test_the_prior_ends_where_its_objective_is_least(noisy) -> None:
    """With enough history a step minimises the documented objective exactly, which has a closed form where D is linear."""
    points = noisy.run(lambda p: Anderson(p, history=40, pull=0, ridge=1e-14, prior=1.0, **PIXELS), 20)
    history, books = noisy.rule._history, noisy.rule._books
    away = (history.point - history.start).square().sum(1).numpy()
    distance = np.sum(noisy.residual(noisy.start) ** 2, axis=1)
    errors = noisy.mismatch(noisy.truth)
    for row, point in enumerate(points[-1]):
        share = noisy.pixels.shape[1] / len(noisy.pixels)
        weight = share * books.size[row] / books.unit[row] / np.clip(away[row], distance[row], 4 * distance[row])
        step = np.eye(12) - books.rate[row] * noisy.matrix  # from the mixed point, relative to the truth, to the next
        offset = noisy.truth[row] - noisy.start[row]
        system = noisy.pixels.T @ noisy.pixels + weight * step.T @ step
        mixed = np.linalg.solve(system, -noisy.pixels.T @ errors[row] - weight * step.T @ offset)
        np.testing.assert_allclose(point, noisy.truth[row] + step @ mixed, rtol=0, atol=1e-6)


def test_the_prior_keeps_noise_out_of_the_latent(noisy) -> None:
    def error(point: np.ndarray) -> float:
        return np.mean(np.sum((point - noisy.truth) ** 2, axis=1))

    fitted = noisy.run(lambda p: Anderson(p, history=20, pull=0, **PIXELS), 14)[-1]
    kept = noisy.run(lambda p: Anderson(p, history=20, pull=0, prior=1.0, **PIXELS), 14)[-1]
    assert error(fitted) > 10 * error(noisy.start)
    assert error(kept) < 0.8 * error(noisy.start)


@MIXINGS
def test_a_step_that_overshoots_is_taken_back_and_halved(linear, mixing: dict[str, float]) -> None:
    """At 4 times the largest stable step size the first step multiplies the error; the next starts from the best again."""
    problem = linear(eigenvalues=(0.9, 1.0, 1.1))
    ours = np.stack(problem.run(lambda p: Anderson(p, 8.0, ridge=1e-14, **mixing), 7))
    np.testing.assert_allclose(ours, reference(problem, 7, 20, 8.0, mixing, 0.2), rtol=0, atol=1e-8)
    errors = np.linalg.norm(ours - problem.truth, axis=2)
    assert (errors[1] > 5 * errors[0]).all()
    assert (errors[2] < errors[1]).all()
    assert (errors[-1] < errors[0]).all()
    problem.run(lambda p: Anderson(p, 8.0, **mixing), 2)
    assert problem.rule._books.rate.tolist() == [0.5] * 3


def test_proof_is_asked_for_where_the_encoder_is_steep() -> None:
    """Whatever the scale of the latents."""
    for scale in (0.1, 1.0, 10.0):
        merit = torch.tensor([0.98, 1.02]) * STEEP * 0.1
        first = Evaluation(torch.full((2, 3), scale), merit, torch.full((2, 3, 1, 1), 0.1))
        residual, pixel = Anderson([nn.Parameter(torch.zeros(1))], trust=0.3).proof(first).tolist()
        assert residual == [FALLEN, FALLEN]
        assert pixel == [torch.inf, pytest.approx(0.3)]


def test_both_proofs_are_asked_for_where_the_encoder_does_not_undo_the_decoder() -> None:
    first = Evaluation(torch.ones(2, 3), torch.tensor([0.98, 1.02]) * STRANGE, torch.ones(2, 3, 1, 1))
    residual, pixel = Anderson([nn.Parameter(torch.zeros(1))]).proof(first).tolist()
    assert residual == [FALLEN, pytest.approx(SOLVED)]
    assert pixel == [torch.inf, pytest.approx(SOLVED)]


def test_the_residual_must_fall_unless_there_is_a_prior_too() -> None:
    first = Evaluation(torch.ones(1, 3), torch.tensor([0.1]), torch.ones(1, 3, 1, 1))
    assert Anderson([nn.Parameter(torch.zeros(1))]).proof(first).tolist() == [[FALLEN], [torch.inf]]
    assert Anderson([nn.Parameter(torch.zeros(1))], prior=1.0).proof(first).tolist() == [[torch.inf], [torch.inf]]


@pytest.mark.parametrize("blocks", [3, 5])
def test_untrained_codecs_whose_pixels_are_fitted_by_worse_latents_keep_the_encoders(blocks) -> None:
    widths = (16,) * blocks
    sizes = {"encoder_block_out_channels": widths, "decoder_block_out_channels": widths, "latent_channels": 3}
    codec = as_codec(lambda: AutoencoderTiny(**sizes, num_encoder_blocks=(1,) * blocks, num_decoder_blocks=(1,) * blocks))
    flat = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    truth = codec.encode(nn.functional.interpolate(flat, size=(64, 64)))
    image = round_to_8_bits(codec.decode(truth))
    found = decinv.invert(image, codec).latent
    assert (nmse_db(found, truth) < nmse_db(codec.encode(image), truth) + 0.5).all()


def squares_of(mismatch: torch.Tensor, side: int) -> torch.Tensor:
    """Means over squares, each ``side`` times: those at the border are over what is there."""
    rows, columns = (range(0, size, side) for size in mismatch.shape[-2:])
    means = [[mismatch[..., i : i + side, j : j + side].mean((-2, -1)) for j in columns] for i in rows]
    return side * torch.stack([torch.stack(row, -1) for row in means], -2)


class Squares(DecoderProblem):
    """A decoder problem whose pixel residual has been averaged over squares already."""

    side = 3

    def evaluate(self, point: torch.Tensor) -> Evaluation:
        evaluation = super().evaluate(point)
        return evaluation._replace(mismatch=squares_of(evaluation.mismatch, self.side))


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_mixing_by_squares_is_mixing_by_their_means(images, size: tuple[int, int]) -> None:
    codec = LinearCodec((0.2, 0.5, 0.8, 1.1), stride=8)
    image = images(3, *size)  # which the codec cannot make, so that r never vanishes
    paths = []
    for problem, pool in ((DecoderProblem(codec, image), 3), (Squares(codec, image), 1), (DecoderProblem(codec, image), 1)):
        point = nn.Parameter(problem.start().clone())
        rule = Anderson([point], pool=pool)
        rule.reset(8)
        path = []
        for _ in range(7):
            evaluation = problem.evaluate(point.detach())
            point.grad = evaluation.residual
            rule.observe(evaluation)
            rule.step()
            path.append(point.detach().clone())
        paths.append(torch.stack(path))
    torch.testing.assert_close(paths[0], paths[1], rtol=0, atol=1e-4)
    assert (paths[0] - paths[2]).abs().max() > 1e-2


@pytest.mark.parametrize("makes", [True, False])
def test_squares_solve_what_the_codec_can_make(images, makes: bool) -> None:
    """Averages of what it cannot make are not orthogonal to those of what it can; a sample says that it stalled."""
    codec, given = LinearCodec(stride=8), images(3, 32, 32)
    image = codec.decode(codec.fixed_point(given)) if makes else given
    for pool in (1, 3):
        result = solve(codec, image, pool=pool)
        solved = makes or pool == 1
        assert all((status is Status.CONVERGED) == solved for status in result.status)
        assert (float((result.latent - codec.fixed_point(image)).abs().max()) < 1e-3) == solved


@pytest.mark.parametrize(
    ("shape", "latent", "values"),
    [
        ((3, 64, 64), (4, 8, 8), 3 * 22 * 22),  # 8 times down to 4 channels
        ((3, 9, 64, 64), (16, 3, 8, 8), 3 * 9 * 22 * 22),  # a clip, 4 times down in time
        ((3, 64, 64), (16, 8, 8), 3 * 64 * 64),  # 12 values for each of the latent: each is needed
        ((3, 2, 64), (1, 1, 2), 3 * 1 * 22),
        ((12288,), (256,), 12288),  # no picture
    ],
)
def test_squares_are_remembered_where_enough_are_left(shape, latent, values: int) -> None:
    point = nn.Parameter(torch.zeros(2, *latent))
    rule = Anderson([point], pool=3)
    rule.reset(9)
    for scale in (1.0, 0.5):
        point.grad = scale * torch.ones_like(point)
        rule.observe(Evaluation(point.grad, torch.ones(2), scale * torch.ones(2, *shape)))
        rule.step()
    assert rule._history.changes.shape == (2, 8, values + point[0].numel())


def test_the_state_of_another_side_of_squares_is_refused() -> None:
    one, three = (Anderson([nn.Parameter(torch.zeros(2, 4, 8, 8))], pool=pool) for pool in (1, 3))
    with pytest.raises(ValueError, match="`pool` 3, but got that of one with 1; set it so"):
        three.load_state_dict(one.state_dict())


def test_the_squares_of_a_constant_keep_its_length() -> None:
    rule = Anderson([nn.Parameter(torch.zeros(2, 1, 3, 3))], pool=2)
    constant = torch.full((2, 3, 6, 8), 0.3)
    torch.testing.assert_close(rule._pooled(constant).norm(dim=1), constant.flatten(1).norm(dim=1))


@MIXINGS
def test_enough_history_ends_after_as_many_steps_as_distinct_eigenvalues(linear, mixing: dict[str, float]) -> None:
    """Three eigenvalues: the third mixed step, which is the fourth, is the solution."""
    problem = linear(eigenvalues=(0.3, 0.3, 0.7, 0.7, 1.2))
    points = problem.run(lambda p: Anderson(p, history=10, pull=0, ridge=1e-14, **mixing), 5)
    errors = [np.abs(point - problem.truth).max() for point in points]
    assert errors[2] > 1e-2
    assert errors[4] < 1e-6 * errors[0]


@MIXINGS
@pytest.mark.parametrize("scaling_factor", [1.0, 0.18215])
@pytest.mark.parametrize("reproducible", [True, False])
def test_the_linear_codec_takes_its_number_of_eigenvalues_and_one(images, reproducible, scaling_factor, mixing) -> None:
    codec = LinearCodec(scaling_factor=scaling_factor)
    image = images(3)
    if reproducible:
        image = codec.decode(codec.fixed_point(image))
    result = solve(codec, image, lr=1.0, pull=0, **mixing)
    assert result.status == (Status.CONVERGED,) * 3
    assert result.iterations.max() <= len(codec.eigenvalues) + 1
    torch.testing.assert_close(result.latent, codec.fixed_point(image), rtol=0, atol=1e-4)


@pytest.mark.parametrize("eigenvalues", [(0.4, 0.6, 0.8, 1.0), (0.05, 0.3, 1.0, 1.5)])
@pytest.mark.parametrize("reproducible", [True, False])
def test_the_default_converges_on_the_linear_codec(images, reproducible: bool, eigenvalues: tuple[float, ...]) -> None:
    """A residual of 1e-5 leaves an error in the latent of that, times the image's size, over the least eigenvalue."""
    codec = LinearCodec(eigenvalues)
    image = images(3, 32, 32)
    if reproducible:
        image = codec.decode(codec.fixed_point(image))
    result = solve(codec, image)
    assert result.status == (Status.CONVERGED,) * 3
    truth = codec.fixed_point(image)
    error = (result.latent - truth).flatten(1).norm(dim=1)
    assert (error <= 1e-5 * codec.encode(image).flatten(1).norm(dim=1) / min(eigenvalues)).all()


@pytest.mark.parametrize("options", [{}, PLAIN, {"pull": 0.0, **LATENT}, {"pull": 0.0, **PIXELS}])
@pytest.mark.parametrize("reproducible", [True, False])
def test_it_stays_at_the_solution_when_history_is_redundant(images, reproducible: bool, options: dict[str, float]) -> None:
    """Four eigenvalues and twenty slots: all further changes are rounding errors, some 3e-5 even of exact products."""
    codec = LinearCodec((0.05, 0.3, 1.0, 1.5))
    image = images(3, 32, 32)
    if reproducible:
        image = codec.decode(codec.fixed_point(image))
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, Anderson([point], **options), Stopping(max_iters=60, rtol=0.0, patience=None))
    solver.start(DecoderProblem(codec, image))
    while not solver.done:
        solver.step()
    assert solver.result().history[25:].nan_to_num().max() < 1e-4


def test_a_history_of_one_is_the_forward_step(linear) -> None:
    problem = linear()
    points = problem.run(lambda p: Anderson(p, 0.6, history=1), 5)
    expected = problem.start
    for point in points:
        np.testing.assert_allclose(point, expected, rtol=0, atol=1e-12)
        expected = expected - 0.6 * problem.residual(expected)


def test_a_solution_stays_and_stays_finite(linear) -> None:
    problem = linear()
    problem.start = problem.truth.copy()
    for point in problem.run(Anderson, 4):
        np.testing.assert_allclose(point, problem.truth, rtol=0, atol=1e-12)


def test_a_stuck_sample_without_pixels_goes_on_by_its_residual() -> None:
    parameter = nn.Parameter(torch.zeros(2, 3))
    rule = Anderson([parameter])
    rule.reset(2 * STUCK)
    for _ in range(STUCK + 2):
        parameter.data.zero_()
        parameter.grad = torch.ones(2, 3)
        rule.observe(Evaluation(parameter.grad, parameter.grad.norm(dim=1), torch.zeros(2, 1)))
        rule.step()
    assert rule._books.hold.tolist() == [1.0, 1.0]
    assert (rule._history.ratio > 0).all()
    torch.testing.assert_close(parameter.detach(), -torch.ones(2, 3))


@pytest.mark.parametrize("pull", [0.0, 2.0])
def test_without_pixel_residual_the_latent_residual_mixes(pull: float) -> None:
    """A first pixel residual of 0 has no relative size."""
    rates = torch.tensor([0.2, 0.5, 1.1])
    final = []
    for options in (BOTH, LATENT):
        parameter = nn.Parameter(torch.linspace(0.5, 1.5, 6).view(2, 3))
        rule = Anderson([parameter], pull=pull, **options)
        rule.reset(9)
        for _ in range(5):
            parameter.grad = rates * parameter.detach()
            rule.observe(Evaluation(parameter.grad, parameter.grad.norm(dim=1), torch.zeros(2, 5)))
            rule.step()
        final.append(parameter.detach().clone())
    torch.testing.assert_close(*final, rtol=1e-3, atol=1e-5)
    forward = torch.linspace(0.5, 1.5, 6).view(2, 3) * (1 - rates) ** 5
    assert (final[0] - forward).abs().max() > 0.05


def test_repeated_points_keep_the_step_finite() -> None:
    parameter = nn.Parameter(torch.zeros(2, 3))
    rule = Anderson([parameter], lr=1.0, pixel_weight=0)
    rule.reset(6)
    for _ in range(6):
        parameter.data.zero_()
        parameter.grad = torch.ones(2, 3)
        rule.step()
    torch.testing.assert_close(parameter.detach(), -torch.ones(2, 3))


@MIXINGS
def test_a_row_that_is_not_finite_stays_alone(mixing: dict[str, float]) -> None:
    first = torch.linspace(0.1, 0.9, 8).view(2, 4)
    rates = torch.tensor([0.3, 0.6, 0.9, 1.2])
    final = []
    for spoilt in (False, True):
        parameter = nn.Parameter(first.clone())
        rule = Anderson([parameter], **mixing)
        rule.reset(6)
        for step in range(6):
            parameter.grad = rates * parameter.detach()
            if spoilt and step == 2:
                parameter.grad[1] = torch.nan
            rule.observe(Evaluation(parameter.grad, parameter.grad.norm(dim=1), 2 * parameter.grad))
            rule.step()
        final.append(parameter.detach().clone())
    assert torch.equal(final[0][0], final[1][0])
    assert final[1][1].isnan().all()


@MIXINGS
def test_pixels_of_another_number_format_are_taken(mixing: dict[str, float]) -> None:
    parameter = nn.Parameter(torch.ones(1, 2, dtype=torch.float64))
    rule = Anderson([parameter], pull=0, **mixing)
    rule.reset(4)
    for _ in range(4):
        parameter.grad = parameter.detach() * torch.tensor([0.3, 0.8])
        rule.observe(Evaluation(parameter.grad, parameter.grad.norm(dim=1), parameter.grad.float()))
        rule.step()
    assert parameter.abs().max() < 1e-4


def test_reset_forgets_the_chunk_before(linear) -> None:
    problem = linear()
    fresh = problem.run(Anderson, 6)[-1]
    used = problem.rule
    used.point.data = torch.from_numpy(problem.start.copy())
    again = problem.run(lambda params: _moved_to(used, params[0]), 6)[-1]
    np.testing.assert_array_equal(again, fresh)


def _moved_to(rule: Anderson, parameter: nn.Parameter) -> Anderson:
    rule.param_groups[0]["params"] = [parameter]
    return rule


@MIXINGS
@pytest.mark.parametrize(("pull", "prior"), [(0.0, 0.0), (2.0, 0.0), (2.0, 1.0)])
def test_rows_are_independent(assert_rows_independent, pull: float, prior: float, mixing: dict[str, float]) -> None:
    """Batched products of another size may round differently; the mixing then magnifies that a little."""
    assert_rows_independent(lambda p: Anderson(p, history=4, pull=pull, prior=prior, **mixing), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"pull": 0.0}, {"pull": 0.0, **LATENT}])
def test_batch_mates_change_nothing_on_the_linear_codec(images, options: dict[str, float]) -> None:
    codec = LinearCodec()
    image = images(3)
    image[1] = codec.decode(codec.fixed_point(image[1:2]))[0]
    image[2] *= 1e-3
    together = solve(codec, image, **options)
    for row in range(3):
        alone = solve(codec, image[row : row + 1], **options)
        assert alone.iterations.item() == together.iterations[row]
        # Both stop somewhere below rtol, which leaves rtol times the size of E(x) over the least eigenvalue.
        bound = 2e-5 * float(codec.encode(image[row : row + 1]).norm()) / min(codec.eigenvalues)
        assert float((alone.latent[0] - together.latent[row]).norm()) <= bound


@pytest.mark.parametrize(
    "arguments",
    [
        {"lr": 0.0},
        {"history": 0},
        {"pull": -1.0},
        {"prior": -3.0},
        {"ridge": -1.0},
        {"ridge": 0.0},
        {"trust": 0.0},
        {"decay": 1.0},
        {"pixel_weight": -2.0},
        {"latent_weight": -2.0},
        {"pool": 0},
        {"probe": 1.0},
        {"probe": -0.1},
        {"pixel_weight": 0.0, "latent_weight": 0.0},
    ],
)
def test_arguments_out_of_range_are_refused(arguments) -> None:
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        Anderson([nn.Parameter(torch.zeros(1))], **arguments)


@pytest.mark.parametrize("options", [{}, {"history": 1}, {"history": 4}, {"pool": 2}, {"prior": 1.0}, LATENT, PIXELS])
def test_it_continues_from_its_state(assert_continues, options) -> None:
    assert_continues(lambda params: Anderson(params, **options))


@pytest.mark.parametrize("eigenvalues", [(12.0, 12.0, 12.0), (20.0, 1.0, 0.5), (100.0, 1.0, 1.0)], ids=str)
def test_a_step_that_is_far_too_long_is_taken_back(eigenvalues) -> None:
    codec = LinearCodec(eigenvalues, stride=4)
    truth = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.1
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, Anderson([point]), Stopping())
    solver.start(DecoderProblem(codec, codec.decode(truth)))
    while not solver.done:
        solver.step()
    result = solver.result()
    assert (result.history[1] > 10 * result.history[0]).any()
    assert all(status.ok for status in result.status)
    assert (result.latent - truth).norm() < 1e-3 * truth.norm()
