import math

import pytest
import torch

from decinv.api import invert
from decinv.batch import Batch
from decinv.benchmark.measuring.measure import begin, invert_decoder, judge, measure_quality
from decinv.benchmark.measuring.methods import (
    BY_NAME,
    DEFAULT,
    DESCENDED,
    GRADIENT,
    MAP,
    METHODS,
    SQUARES,
    DecoderMethod,
    iterations_of,
)
from decinv.codecs import LinearCodec
from decinv.problems import DecoderProblem, DescentProblem, GradientProblem
from decinv.updates import ForwardStep

MARKS = (1, 2, 5)


@pytest.fixture(scope="module")
def codec():
    return LinearCodec(eigenvalues=(0.4, 0.6, 0.8, 0.9), scaling_factor=0.5, shift_factor=0.2)


@pytest.fixture(scope="module")
def batch(codec):
    latent = 0.3 * torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    return Batch(codec.decode(latent), ("a", "b", "c"), latent)


def _decibels(codec, latent, truth):
    z, t = (0.5 * (v.double() - 0.2) for v in (latent, truth))
    return 10 * torch.log10((z - t).square().sum((1, 2, 3)) / t.square().sum((1, 2, 3))).float()


def test_encoder_is_the_encoder(codec, batch):
    found = measure_quality(BY_NAME["encoder"], codec, batch, MARKS)
    assert list(found) == [0]
    latent = codec.encode(batch.image)
    again = codec.encode(codec.decode(latent))
    torch.testing.assert_close(found[0].nmse_db, _decibels(codec, latent, batch.latent), atol=1e-3, rtol=0)
    expected = (again - latent).flatten(1).norm(dim=1) / latent.flatten(1).norm(dim=1)
    torch.testing.assert_close(found[0].residual, expected)
    error = (codec.decode(latent).clamp(-1, 1) - batch.image).square().mean((1, 2, 3))
    torch.testing.assert_close(found[0].psnr_db, 10 * torch.log10(4 / error))
    assert [float(part.mean()) for part in found[0][3:]] == [0, 1, 0]


def test_the_residual_is_that_of_the_image_that_the_solver_looks_at():
    """An image with saturated pixels is converged where D(z) goes beyond them."""
    codec = LinearCodec(eigenvalues=(1.0,) * 4)
    codec.clamps = True
    latent = 2 * torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    image = codec.picture(latent)
    result = invert(image, codec, max_iters=4)
    target = codec.encode(image)
    assert (codec.decode(result.latent).abs() > 1.001).any()
    found = judge(codec, Batch(image, ("a", "b"), latent), target, result.latent, (0, 0, 0))
    torch.testing.assert_close(found.residual, result.residual)


def test_psnr_is_that_of_the_clamped_image():
    codec = LinearCodec(eigenvalues=(1.5,) * 4)
    latent = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    batch = Batch(codec.decode(latent).clamp(-1, 1), ("a", "b"), latent)
    decoded = codec.decode(codec.encode(batch.image))
    assert decoded.abs().amax() > 1
    error = (decoded.clamp(-1, 1) - batch.image).square().mean((1, 2, 3))
    found = measure_quality(BY_NAME["encoder"], codec, batch, MARKS)
    torch.testing.assert_close(found[0].psnr_db, 10 * torch.log10(4 / error))


@pytest.mark.parametrize("step_size", [0.5, 1.0])
def test_forward_step_follows_its_closed_form(codec, batch, step_size):
    method = DecoderMethod("forward", DecoderProblem, lambda params: ForwardStep(params, lr=step_size))
    found = measure_quality(method, codec, batch, MARKS)
    identity = torch.eye(4, dtype=torch.float64)
    matrix = codec.matrix.double()
    for mark in MARKS:
        # After `mark` evaluations the best point evaluated is z_{mark - 1}, whose error is (I - rho A)^(mark - 1) (A - I) z*.
        error = torch.linalg.matrix_power(identity - step_size * matrix, mark - 1) @ (matrix - identity)
        latent = batch.latent.double() + torch.einsum("cd,bdhw->bchw", error, batch.latent.double())
        torch.testing.assert_close(found[mark].nmse_db, _decibels(codec, latent, batch.latent), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("forward step 1", lambda k: [k, k + 1, 0]),
        ("paper Adam 0.01", lambda k: [k, k + 1, 0]),
        (DEFAULT, lambda k: [k, k + 1, 0]),
        (GRADIENT, lambda k: [k, 1, k]),
        ("gradient Adam 0.01", lambda k: [k, 1, k]),
    ],
)
def test_work_is_counted_exactly(codec, batch, name, work):
    found = measure_quality(BY_NAME[name], codec, batch, MARKS)
    assert {mark: [float(part.mean()) for part in quality[3:]] for mark, quality in found.items()} == {
        k: work(k) for k in MARKS
    }


@pytest.mark.parametrize("method", [method for method in METHODS if method.rule], ids=lambda method: method.name)
def test_a_mark_is_what_a_user_gets_with_as_many_iterations(codec, batch, method):
    found = measure_quality(method, codec, batch, MARKS)
    for mark in MARKS:
        result = invert(batch.image, codec, method.rule, max_iters=mark, rtol=0, patience=None, problem=method.problem)
        expected = _decibels(codec, result.latent, batch.latent)
        # A gradient's step solves a linear decoder at once: what is left below -110 dB is rounding. No other has a floor.
        floor = -110 if method.problem is DescentProblem else -math.inf
        torch.testing.assert_close(found[mark].nmse_db.clamp_min(floor), expected.clamp_min(floor), atol=2e-3, rtol=0)


def test_a_sample_that_ends_early_keeps_its_best_and_costs_nothing_more(codec, batch):
    # The residual grows by up to |1 - 10 * 0.9| = 8 a step, until the solver gives up.
    method = DecoderMethod("too far", DecoderProblem, lambda params: ForwardStep(params, lr=10.0))
    found = measure_quality(method, codec, batch, (1, 50))
    torch.testing.assert_close(found[50].nmse_db, found[1].nmse_db)
    assert float(found[50].decodes.mean()) < 10


def test_gradient_steps_follow_a_whole_run(batch):
    codec = LinearCodec(eigenvalues=(0.1,) * 4)  # the first residual is 0.9, so that one evaluation proves nothing
    image = batch._replace(image=codec.decode(batch.latent))
    encoder = measure_quality(BY_NAME["encoder"], codec, image, (1,))[0]
    torch.testing.assert_close(measure_quality(BY_NAME[DEFAULT], codec, image, (1,))[1].nmse_db, encoder.nmse_db)
    descended = measure_quality(BY_NAME[DESCENDED], codec, image, (1,))[1]
    assert float(encoder.nmse_db.min()) > -1
    assert float(descended.nmse_db.max()) < -100
    decodes, encodes, backwards = (float(part.mean()) for part in descended[3:])
    assert 0 < backwards <= 10  # a sample that is solved to the last bit ends early
    assert decodes == backwards + 2  # the evaluation before, and the probe of the step size
    assert encodes == backwards + 3  # the evaluation before, and E(x) for each of the two problems


def test_an_image_is_done_at_the_residual_that_is_asked_for(codec, batch):
    whole, _ = invert_decoder(BY_NAME[DEFAULT], 50, codec, batch.image)
    loose, _ = invert_decoder(BY_NAME[DEFAULT], 50, codec, batch.image, rtol=0.1)
    target = codec.encode(batch.image)
    for latent, low, high in ((whole, 0, 1e-5), (loose, 1e-3, 0.1)):
        residual = codec.encode(codec.decode(codec.scaling.invert(latent))) - target
        relative = residual.flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1)
        assert low <= float(relative.min())
        assert float(relative.max()) <= high


def test_unknown_latents_are_refused(codec, batch):
    with pytest.raises(ValueError, match="known latents"):
        measure_quality(BY_NAME["encoder"], codec, batch._replace(latent=None), MARKS)


def test_runs():
    assert BY_NAME["encoder"].runs(MARKS) == [(0,)]
    assert BY_NAME[DEFAULT].runs(MARKS) == [MARKS]
    assert BY_NAME[GRADIENT].runs(MARKS) == [(1,), (2,), (5,)]
    assert BY_NAME[DESCENDED].runs(MARKS) == [(1,), (2,), (5,)]


def test_iterations_are_the_package_s_own_or_the_others():
    found = {name: iterations_of(name, 5, 100) for name in BY_NAME}
    assert {name for name, count in found.items() if count == 5} == {DEFAULT, MAP, SQUARES, DESCENDED}
    assert {name for name, count in found.items() if count == 0} == {"encoder"}


def test_scheduled_methods_are_the_published_ones(codec, batch):
    # Rates of arXiv 2409.18442: warm-up over 10 %, cosine to 0; its gradient-free method holds the rate from 80 % on.
    for name, base, held in ((GRADIENT, 0.1, 1.0), ("paper Adam 0.01", 0.01, 0.8)):
        solver = begin(BY_NAME[name], codec, batch.image, 20)
        rates = []
        for _ in range(19):
            rates.append(solver.rule.param_groups[0]["lr"])
            solver.step()
        cosine = [base * (1 + math.cos(math.pi * (min(i, math.ceil(20 * held) - 1) - 2) / 18)) / 2 for i in range(2, 19)]
        assert rates == pytest.approx([base / 2, base, *cosine])


def test_every_problem_is_of_its_kind():
    kinds = {name: method.problem for name, method in BY_NAME.items()}
    gradients = {GradientProblem, DescentProblem}
    assert all((kind in gradients) == name.startswith("gradient") for name, kind in kinds.items())
