"""Samples that would end at their start go on along gradients; the others never know."""

from collections.abc import Sequence
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from decinv.api import invert
from decinv.codecs import AutoencoderCodec, LinearCodec, load_codec
from decinv.data.generated import decode_rounded, draw_latent
from decinv.metrics.latent import nmse_db
from decinv.problems import DecoderProblem, DescentProblem, GradientProblem
from decinv.problems.base import Evaluation
from decinv.solver import Solver
from decinv.status import Status
from decinv.stopping import Stopping
from decinv.updates import Anderson, ForwardStep


class Stubborn(ForwardStep):
    """Forward steps that some samples never trust."""

    def __init__(self, params: Sequence[nn.Parameter], lr: float = 0.1, rows: Sequence[int] = (0, 2)) -> None:
        super().__init__(params, lr)
        self.rows = list(rows)

    def proof(self, first: Evaluation) -> Tensor:
        parts = super().proof(first).clone()
        parts[:, self.rows] = 0.0
        return parts


def begin(image: Tensor, codec: LinearCodec, **options: int | float) -> Solver:
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, Stubborn([point]), Stopping(**{"max_iters": 6, "rtol": 0.0, "patience": None} | options))
    solver.start(DecoderProblem(codec, image))
    return solver


def finish(solver: Solver) -> Solver:
    while not solver.done:
        solver.step()
    return solver


@pytest.mark.parametrize("scaling", [(1.0, 0.0), (0.18215, 0.0), (1.5305, 0.0609)])
def test_the_step_is_newton_s_where_the_decoder_is_orthonormal(images, scaling: tuple[float, float]) -> None:
    """``J^T J = I / factor^2``, so ``alpha g = z - z*`` wherever z is, and the Cauchy step is ``factor^2``."""
    codec = LinearCodec(scaling_factor=scaling[0], shift_factor=scaling[1])
    image = images(3)
    problem = DescentProblem(codec, image)
    point = problem.start()
    solution = codec.scaling.apply(codec.fixed_point(image))
    for at in (point, point + 0.1):
        found = problem.evaluate(at)
        torch.testing.assert_close(found.residual, at - solution, rtol=1e-3, atol=1e-4)
        plain = DecoderProblem(codec, image).evaluate(at)
        torch.testing.assert_close(found.merit, plain.merit)
        torch.testing.assert_close(found.mismatch, plain.mismatch)
    assert problem.rate is not None
    torch.testing.assert_close(problem.rate, torch.full((3,), scaling[0] ** 2), rtol=1e-3, atol=0)


def test_the_step_of_a_real_decoder_is_the_gradient_and_knows_no_batch_mates(saved, images) -> None:
    codec = load_codec(saved("kl"))
    image = images(3, 32, 32)
    problem = DescentProblem(codec, image)
    found = problem.evaluate(problem.start())
    assert problem.rate is not None
    gradient = GradientProblem(codec, image).evaluate(problem.start()).residual / 2
    torch.testing.assert_close(found.residual, gradient * problem.rate.view(-1, 1, 1, 1), rtol=1e-3, atol=1e-5)
    for row in range(3):
        alone = DescentProblem(codec, image[row : row + 1])
        torch.testing.assert_close(alone.evaluate(alone.start()).residual[0], found.residual[row], rtol=1e-3, atol=1e-5)


def test_a_start_that_is_the_solution_stays(images) -> None:
    codec = LinearCodec((1.0, 1.0))
    image = codec.decode(torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.1)
    found = DescentProblem(codec, image).evaluate(codec.encode(image))
    assert found.residual.isfinite().all()
    assert found.residual.abs().max() < 1e-5


def test_samples_at_their_start_go_on_along_gradients_and_the_others_do_not(images) -> None:
    """Every step leaves nine tenths of the way to the solution, and n iterations take n - 1 steps."""
    codec = LinearCodec()
    image = images(4)
    before, after = (finish(begin(image, codec, gradient_steps=steps)).result() for steps in (0, 5))
    start, solution = codec.encode(image), codec.fixed_point(image)
    stuck, free = [0, 2], [1, 3]
    assert torch.equal(before.latent[stuck], start[stuck])
    assert torch.equal(after.latent[free], before.latent[free])
    torch.testing.assert_close(after.latent[stuck] - solution[stuck], 0.9**4 * (start - solution)[stuck], rtol=1e-3, atol=1e-4)
    assert after.iterations.tolist() == [11, 6, 11, 6]
    assert after.evaluations.tolist() == [12, 6, 12, 6], "the probe of the step size counts"
    assert after.history.shape == (11, 4)
    assert torch.equal(after.history[:6], before.history)
    assert after.history[6:, free].isnan().all()
    assert after.history[6:, stuck].isfinite().all()
    problem = DecoderProblem(codec, image)
    torch.testing.assert_close(after.residual, problem.evaluate(codec.scaling.apply(after.latent)).merit)
    assert after.status == (Status.MAX_ITERS,) * 4


def test_no_sample_at_its_start_costs_nothing(images) -> None:
    codec, image = LinearCodec(), images(4)
    solver = begin(image, codec, gradient_steps=5)
    solver.rule.rows = []  # type: ignore[attr-defined]
    result = finish(solver).result()
    assert solver.iteration == 6
    assert result.evaluations.tolist() == [6] * 4


def test_a_sample_that_waited_for_others_is_charged_its_own_iterations(images) -> None:
    """A stubborn sample whose residual cannot fall stalls early and waits for the one that takes all iterations."""
    codec = LinearCodec()
    image = images(2)
    image[0] = codec.decode(codec.fixed_point(image)[:1])[0]
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, Stubborn([point], lr=1e-6, rows=[0]), Stopping(20, 0.0, patience=3, gradient_steps=2))
    solver.start(DecoderProblem(codec, image))
    finish(solver)
    result = solver.result()
    assert result.iterations[0] == 4 + 2
    assert result.evaluations[0] == 4 + 2 + 1


def test_a_descent_continues_in_its_middle_bit_for_bit(images) -> None:
    codec, image = LinearCodec(), images(4)
    expected = finish(begin(image, codec, gradient_steps=4)).result()
    stopped = begin(image, codec, gradient_steps=4)
    for _ in range(10):
        solver = begin(image, codec, gradient_steps=4)
        solver.load_state_dict(deepcopy(stopped.state_dict()))
        assert (solver.iteration, solver.active) == (stopped.iteration, stopped.active)
        found = finish(solver).result()
        assert torch.equal(found.latent, expected.latent)
        assert torch.equal(found.history.nan_to_num(), expected.history.nan_to_num())
        assert torch.equal(found.evaluations, expected.evaluations)
        stopped.step()
    assert stopped.done


class Uneven(LinearCodec):
    """A linear codec whose images show some channels more than others."""

    def _decode(self, latent: Tensor) -> Tensor:
        return super()._decode(latent * torch.linspace(0.3, 1.7, latent.shape[1]).view(1, -1, 1, 1))


class Doubtful(Anderson):
    """The default, which trusts no point but the start."""

    def proof(self, first: Evaluation) -> Tensor:
        return torch.zeros_like(super().proof(first))


def test_a_longer_descent_continues_before_its_probe_bit_for_bit() -> None:
    """The default probes the latent's length after five gradient steps, for which three iterations have no room."""
    codec = Uneven((1.0,) * 12)
    image = 0.3 * codec.decode(torch.randn(2, 12, 4, 4, generator=torch.Generator().manual_seed(0)))

    def start() -> Solver:
        point = nn.Parameter(torch.empty(0))
        solver = Solver(point, Doubtful([point]), Stopping(3, 0.0, patience=None, gradient_steps=16))
        solver.start(DecoderProblem(codec, image))
        return solver

    whole, stopped = start(), start()
    while not whole.done:
        whole.step()
        if whole.iteration == 9:
            assert set(whole.rule._books.stage) == {2}  # type: ignore[attr-defined]
    expected = whole.result()
    while not stopped.done:
        solver = start()
        solver.load_state_dict(deepcopy(stopped.state_dict()))
        found = finish(solver).result()
        assert torch.equal(found.latent, expected.latent), f"after {stopped.iteration} steps"
        assert torch.equal(found.history.nan_to_num(), expected.history.nan_to_num())
        stopped.step()


def test_what_began_anew_near_another_image_is_moved_too() -> None:
    """Its residuals near that image were a tenth of those that the gradient steps are judged by, so that none was better."""
    codec = AutoencoderCodec()
    truth = draw_latent(codec, 18, 64, 2000)[None]
    image = decode_rounded(codec, truth)
    before, after = (invert(image, codec, max_iters=10, gradient_steps=steps) for steps in (0, 8))
    assert (before.evaluations - before.iterations).tolist() == [2]
    torch.testing.assert_close(before.latent, codec.encode(image), rtol=0, atol=1e-6)
    assert after.status == (Status.MAX_ITERS,)
    pixels = [(codec.decode(result.latent) - image).square().mean() for result in (before, after)]
    assert pixels[1] < pixels[0] / 3


def test_what_the_default_leaves_at_the_encoder_is_moved() -> None:
    """Two images of which E makes much of a small pixel error: their latents' errors fall, where they were the encoder's."""
    codec = AutoencoderCodec()
    truth = torch.stack([draw_latent(codec, index, 64, 1000) for index in (2, 7)])
    image = decode_rounded(codec, truth)
    before, after = (invert(image, codec, max_iters=5, gradient_steps=steps) for steps in (0, 8))
    torch.testing.assert_close(before.latent, codec.encode(image), rtol=0, atol=1e-6)
    first, last = (nmse_db(result.latent, truth) for result in (before, after))
    assert (last < first).all()
    assert last[0] < first[0] - 0.5
    pixels = [(codec.decode(result.latent) - image).square().mean() for result in (before, after)]
    assert pixels[1] < pixels[0] / 2


def test_bad_settings_are_named(images) -> None:
    with pytest.raises(ValueError, match="`gradient_steps` to be at least 0, but got -1"):
        Stopping(gradient_steps=-1)
    with pytest.raises(ValueError, match=r"`gradient_steps` 0 where the last iterate is reported.*leave `last_iterate` away"):
        Stopping(gradient_steps=1, last_iterate=True)
    with pytest.raises(ValueError, match="`gradient_steps` 0 for GradientProblem"):
        invert(images(3), LinearCodec(), Stubborn, 2, gradient_steps=3, problem=GradientProblem)


def test_a_descent_goes_on_past_max_iters_where_all_stalled_before(images) -> None:
    codec, image = LinearCodec(), images(1)
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, Stubborn([point], lr=1e-6, rows=[0]), Stopping(5, 0.0, patience=3, gradient_steps=3))
    solver.start(DecoderProblem(codec, image))
    result = finish(solver).result()
    assert result.iterations.tolist() == [4 + 3]
    assert result.evaluations.tolist() == [4 + 3 + 1]
