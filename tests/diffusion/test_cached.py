"""Samplers that keep the network's output for several steps."""

import pytest
import torch

from decinv.diffusion import (
    BDIA,
    DDIM,
    Cached,
    DPMSolver,
    Euler,
    EulerAncestral,
    FlowEuler,
    GaussianDenoiser,
    Guidance,
    Process,
)
from decinv.methods import Algorithm1, ExactInversion, NaiveInversion, NewtonKrylov


def make(sampler, config, condition, deviation):
    return Process(sampler.trajectory(config), Guidance(GaussianDenoiser(config, deviation), 2.0), condition)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("sampler", "every"), [(DDIM(10), 3), (Euler(8), 2), (DDIM(4), 1)], ids=["ddim", "euler", "one"])
def test_steps_share_an_output(config, condition, deviation, noise, sampler, every, prediction):
    config |= {"prediction_type": prediction}
    plain, cached = (make(one, config, condition, deviation) for one in (sampler, Cached(sampler, every)))
    point = noise * plain.trajectory.start
    for index, step in enumerate(plain.steps):
        if index % every == 0:
            output = plain.predict(step, point)
        point = step(point, output)
    torch.testing.assert_close(cached.generate(noise), point, rtol=1e-4, atol=1e-4)
    assert cached.spent.tolist() == [-(-sampler.steps // every)] * 2


def test_of_noise_and_flow_it_is_a_coarser_grid(config):
    for cached, coarse in (
        (Cached(DDIM(20, "trailing"), 4), DDIM(5, "trailing")),
        (Cached(FlowEuler(8), 2), FlowEuler(4)),
    ):
        options = config if isinstance(coarse, DDIM) else {"prediction_type": "flow_prediction"}
        for one, other in zip(cached.trajectory(options).steps, coarse.trajectory(options).steps, strict=True):
            assert (one.time, one.point, one.output) == pytest.approx((other.time, other.point, other.output), rel=1e-4)


@pytest.mark.parametrize("method", [ExactInversion(), Algorithm1(tolerance=1e-5), NewtonKrylov()])
def test_its_inverse_is_exact(config, condition, noise, method):
    config |= {"prediction_type": "v_prediction"}
    process = make(Cached(DDIM(20), 2), config, condition, 0.6)
    result = method.invert(process, process.generate(noise))
    torch.testing.assert_close(result.latent, noise, rtol=1e-3, atol=1e-3)


def test_naive_inversion_sees_where_the_last_shared_step_ends(config, condition, noise):
    process = make(Cached(Euler(8), 2), config, condition, 0.6)
    latent = process.generate(noise)
    point = latent
    for step in reversed(process.steps):
        shown, time = point / step.end.square**0.5, step.time
        point = point + (step.start.sigma - step.end.sigma) * process.guidance(shown, time, condition)
    found = NaiveInversion().invert(process, latent).latent
    torch.testing.assert_close(found, point / process.trajectory.start, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [DDIM, FlowEuler])
def test_naive_inversion_is_that_of_the_coarser_grid(config, condition, noise, kind):
    if kind is FlowEuler:
        config |= {"prediction_type": "flow_prediction"}
    sampler = DDIM(8, "trailing") if kind is DDIM else FlowEuler(8)
    coarse = DDIM(2, "trailing") if kind is DDIM else FlowEuler(2)
    cached, plain = (make(one, config, condition, 0.6) for one in (Cached(sampler, 4), coarse))
    latent = plain.generate(noise)
    found, expected = (NaiveInversion().invert(process, latent).latent for process in (cached, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_others_are_refused(config):
    for sampler in (DPMSolver(4), EulerAncestral(4)):
        with pytest.raises(ValueError, match="first order"):
            Cached(sampler).trajectory(config)
    with pytest.raises(ValueError, match="BDIA"):
        Cached(BDIA(4)).trajectory(config)
    with pytest.raises(ValueError, match="every"):
        Cached(DDIM(4), 0)
