import numpy as np
import pytest
import torch
from torch import nn

from decinv.codecs import LinearCodec
from decinv.problems import DecoderProblem
from decinv.solver import Solver, Stopping
from decinv.status import Status
from decinv.updates import Anderson


def classic(problem, steps: int, history: int, lr: float, pixels: bool) -> list[np.ndarray]:
    """Anderson acceleration by least squares on differences, one row after the other, in numpy."""
    final = [problem.start]
    rows = problem.start.copy()
    memory: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in rows]
    for _ in range(steps):
        residuals = problem.residual(rows)
        errors = problem.mismatch(rows) if pixels else residuals
        moved = rows - lr * residuals
        new = np.empty_like(rows)
        for row, past in enumerate(memory):
            past.append((moved[row], errors[row]))
            del past[:-history]
            new[row] = moved[row]
            if len(past) > 1:
                steps_back = np.stack([past[-1][1] - error for _, error in past[:-1]], axis=1)
                gamma = np.linalg.lstsq(steps_back, past[-1][1], rcond=None)[0]
                new[row] -= np.stack([past[-1][0] - other for other, _ in past[:-1]], axis=1) @ gamma
        rows = new
        final.append(rows)
    return final


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("history", [2, 3])
def test_without_pull_it_is_constrained_least_squares(linear, history: int, pixels: bool) -> None:
    """The relative ridge of 1e-6 is what the tolerance is for."""
    problem = linear(eigenvalues=tuple(np.linspace(0.2, 1.1, 8)))
    ours = problem.run(lambda p: Anderson(p, 0.8, history=history, pull=0, ridge=1e-12, mix_pixels=pixels), 8)
    for point, expected in zip(ours, classic(problem, 8, history, 0.8, pixels), strict=True):
        np.testing.assert_allclose(point, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pixels", [False, True])
def test_enough_history_ends_after_as_many_steps_as_distinct_eigenvalues(linear, pixels: bool) -> None:
    problem = linear(eigenvalues=(0.3, 0.3, 0.7, 0.7, 1.2))
    points = problem.run(lambda p: Anderson(p, history=10, pull=0, ridge=1e-14, mix_pixels=pixels), 5)
    errors = [np.abs(point - problem.truth).max() for point in points]
    assert errors[2] > 1e-2
    assert errors[4] < 1e-6 * errors[0]


@pytest.mark.parametrize("scaling_factor", [1.0, 0.18215])
@pytest.mark.parametrize("pixels", [False, True])
def test_the_linear_codec_takes_about_its_number_of_eigenvalues(images, pixels: bool, scaling_factor: float) -> None:
    codec = LinearCodec(scaling_factor=scaling_factor)
    image = codec.decode(codec.fixed_point(images(3)))  # an image that the codec can make, so that the residual can vanish
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, Anderson([point], pull=0, mix_pixels=pixels), Stopping(max_iters=50, rtol=1e-5))
    solver.start(DecoderProblem(codec, image))
    while not solver.done:
        solver.step()
    result = solver.result()
    assert result.status == (Status.CONVERGED,) * 3
    assert result.iterations.max() <= len(codec.eigenvalues) + 3
    torch.testing.assert_close(result.latent, codec.fixed_point(image), rtol=0, atol=1e-4)


def test_a_history_of_one_is_the_forward_step(linear) -> None:
    problem = linear()
    points = problem.run(lambda p: Anderson(p, 0.6, history=1), 5)
    expected = problem.start
    for point in points:
        np.testing.assert_allclose(point, expected, rtol=0, atol=1e-12)
        expected = expected - 0.6 * problem.residual(expected)


def test_the_default_settings_converge(linear) -> None:
    problem = linear()
    points = problem.run(Anderson, 30)
    assert np.abs(points[-1] - problem.truth).max() < 1e-6


def test_a_solution_stays_and_stays_finite(linear) -> None:
    problem = linear()
    problem.start = problem.truth.copy()
    for point in problem.run(Anderson, 4):
        np.testing.assert_allclose(point, problem.truth, rtol=0, atol=1e-12)


def test_repeated_points_keep_the_step_finite() -> None:
    parameter = nn.Parameter(torch.zeros(2, 3))
    rule = Anderson([parameter], mix_pixels=False)
    rule.reset(6)
    for _ in range(6):
        parameter.data.zero_()
        parameter.grad = torch.ones(2, 3)
        rule.step()
    torch.testing.assert_close(parameter.detach(), -torch.ones(2, 3))


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


@pytest.mark.parametrize("pixels", [False, True])
def test_rows_are_independent(assert_rows_independent, pixels: bool) -> None:
    """Batched products of another size may round differently; the mixing then magnifies that a little."""
    assert_rows_independent(lambda p: Anderson(p, history=4, mix_pixels=pixels), atol=1e-5)


@pytest.mark.parametrize("arguments", [{"lr": 0.0}, {"history": 0}, {"pull": -1.0}, {"ridge": -1.0}])
def test_arguments_out_of_range_are_refused(arguments) -> None:
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        Anderson([nn.Parameter(torch.zeros(1))], **arguments)
