import numpy as np
import pytest
import torch
from torch import nn

from decinv.codecs import LinearCodec
from decinv.problems import DecoderProblem
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates import ForwardStep
from decinv.updates.stock import as_rule


@pytest.mark.parametrize("lr", [0.3, 1.0, 1.7])
def test_errors_follow_the_matrix_power(linear, lr: float) -> None:
    problem = linear()
    contraction = np.eye(len(problem.matrix)) - lr * problem.matrix
    for step, point in enumerate(problem.run(lambda params: ForwardStep(params, lr), 20)):
        expected = (problem.start - problem.truth) @ np.linalg.matrix_power(contraction, step).T
        np.testing.assert_allclose(point - problem.truth, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scaling", [(1.0, 0.0), (0.18215, 0.4)])
def test_errors_on_the_linear_codec_in_closed_form(images, scaling: tuple[float, float]) -> None:
    codec = LinearCodec(scaling_factor=scaling[0], shift_factor=scaling[1])
    rho, image = 0.8, images(2)
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, ForwardStep([point], lr=rho), Stopping(max_iters=12, rtol=0, patience=None))
    solver.start(DecoderProblem(codec, image))
    truth = codec.fixed_point(image)
    contraction = torch.eye(4) - rho * codec.matrix
    error = codec.encode(image) - truth
    while not solver.done:
        solver.step()
        assert solver.last is not None
        torch.testing.assert_close(codec.scaling.invert(solver.last.point) - truth, error, rtol=0, atol=3e-6)
        error = torch.einsum("cd,bdhw->bchw", contraction, error)
    size = codec.encode(image).flatten(1).norm(dim=1)
    contraction_at_least = codec.rate(rho) ** 11
    assert (
        solver.result().residual <= contraction_at_least * (truth - codec.encode(image)).flatten(1).norm(dim=1) / size
    ).all()


def test_it_is_torch_s_sgd_bit_for_bit(linear) -> None:
    ours = linear().run(lambda params: ForwardStep(params, 0.7), 15)
    torchs = linear().run(lambda params: as_rule(torch.optim.SGD(params, lr=0.7)), 15)
    for a, b in zip(ours, torchs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_solution_stays(linear) -> None:
    problem = linear()
    problem.start = problem.truth
    np.testing.assert_array_equal(problem.run(ForwardStep, 3)[-1], problem.truth)


def test_rows_are_independent(assert_rows_independent) -> None:
    assert_rows_independent(lambda params: ForwardStep(params, 0.5))


@pytest.mark.parametrize("lr", [0.0, -1.0])
def test_step_size_out_of_range_is_refused(lr: float) -> None:
    with pytest.raises(ValueError, match=f"`lr` to be above 0, but got {lr}"):
        ForwardStep([nn.Parameter(torch.zeros(1))], lr)


def test_it_continues_from_its_state(assert_continues) -> None:
    assert_continues(lambda params: ForwardStep(params, 0.7))
