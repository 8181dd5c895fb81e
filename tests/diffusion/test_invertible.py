"""Samplers with an inverse."""

import math

import pytest
import torch
from diffusers import DDIMScheduler

from decinv.diffusion import BDIA, BELM, DDIM, EDICT, GaussianDenoiser, Guidance, Process


@pytest.fixture
def make(config, condition, deviation):
    def process(sampler, scale=3.0, deviation=deviation):
        return Process(sampler.trajectory(config), Guidance(GaussianDenoiser(config, deviation), scale), condition)

    return process


PAIRS = {"edict": EDICT(20), "bdia": BDIA(20), "bdia0.8": BDIA(20, gamma=0.8), "belm": BELM(20)}


@pytest.mark.parametrize("sampler", PAIRS.values(), ids=PAIRS)
def test_round_trip(make, noise, sampler):
    process = make(sampler)
    latent, process.companion = process.generate_pair(noise)
    assert latent.dtype == process.companion.dtype == torch.float32
    spent = process.spent.clone()
    torch.testing.assert_close(process.invert_pair(latent), noise, rtol=1e-3, atol=1e-3)
    predictions = 40 if isinstance(sampler, EDICT) else 19
    assert (process.spent - spent).tolist() == [predictions] * 2


def test_one_trajectory_of_edict_by_hand(make, noise):
    process = make(EDICT(20, mixing=0.9))
    x, y = process.generate_pair(noise)
    a = b = noise.double()
    for index, step in enumerate(process.trajectory.steps):
        ratio = step.end.alpha / step.start.alpha
        weight = step.end.sigma - ratio * step.start.sigma
        if index % 2:
            b = ratio * b + weight * step.eps(a, process.predict(step, a.float()))
        a = ratio * a + weight * step.eps(b, process.predict(step, b.float()))
        if index % 2 == 0:
            b = ratio * b + weight * step.eps(a, process.predict(step, a.float()))
        a = 0.9 * a + 0.1 * b
        b = 0.9 * b + 0.1 * a
    torch.testing.assert_close(x, a.float())
    torch.testing.assert_close(y, b.float())


@pytest.mark.parametrize(("sampler", "gamma"), [(BELM, None), (BDIA, 0.8)])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_two_points_by_hand(make, config, noise, sampler, gamma, spacing):
    """Along the scheduler's times; twelve do not divide 1000, so the steps of ``DDIMScheduler`` do not meet."""
    config["set_alpha_to_one"] = True
    scheduler = DDIMScheduler(
        **{key: value for key, value in config.items() if key != "skip_prk_steps"}, timestep_spacing=spacing
    )
    scheduler.set_timesteps(12)
    data = [*scheduler.alphas_cumprod[scheduler.timesteps].double().sqrt().tolist(), 1.0]
    ratios = [(1 / alpha**2 - 1) ** 0.5 for alpha in data]
    process = make(sampler(12, spacing) if gamma is None else sampler(12, spacing, gamma))
    scaled = [noise.double() / data[0]]
    for index, step in enumerate(process.trajectory.steps):
        eps = process.predict(step, (data[index] * scaled[-1]).float()).double()
        h = ratios[index] - ratios[index + 1]
        following = scaled[-1] - h * eps
        if index:
            last = ratios[index - 1] - ratios[index]
            weight = (h / last) ** 2 if gamma is None else gamma * data[index - 1] / data[index + 1]
            following += weight * (scaled[-2] - scaled[-1] - last * eps)
        scaled.append(following)
    latent, before = process.generate_pair(noise)
    torch.testing.assert_close(latent, (data[-1] * scaled[-1]).float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(before, (data[-2] * scaled[-2]).float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "counts", "order"), [(DDIM, (100, 200), 1), (BELM, (100, 200), 2), (BELM, (60, 240), 2)])
def test_order(make, condition, noise, kind, counts, order):
    errors, deviation = [], 0.5
    for count in counts:
        process = make(kind(count, "trailing"), 1.0, deviation)
        first, last = process.trajectory.steps[0].start, process.trajectory.steps[-1].end
        mean = condition.prompt.embedding
        quantile = (noise - first.alpha * mean) / (first.alpha**2 * deviation**2 + first.sigma**2) ** 0.5
        exact = last.alpha * mean + (last.alpha**2 * deviation**2 + last.sigma**2) ** 0.5 * quantile
        errors.append((process.generate(noise) - exact).norm())
    assert math.log(errors[0] / errors[1], counts[1] / counts[0]) == pytest.approx(order, abs=0.1 if counts[0] == 100 else 0.3)


def test_some_samples_are_the_same_alone(make, noise):
    process = make(BDIA(5))
    every, _ = process.generate_pair(noise)
    second, _ = process.generate_pair(noise[1:], torch.tensor([1]))
    torch.testing.assert_close(second, every[1:])


def test_bdia_without_weight_of_the_past_is_ddim(make, noise):
    sampler = BDIA(20)
    sampler.gamma = 0.0
    torch.testing.assert_close(make(sampler).generate(noise), make(DDIM(20)).generate(noise), rtol=1e-4, atol=1e-4)


def test_edict_and_bdia_stay_near_ddim(make, noise):
    expected = make(DDIM(200), 1.0, 1.0).generate(noise)
    for sampler in (EDICT(200), BDIA(200, gamma=0.5)):
        found = make(sampler, 1.0, 1.0).generate(noise)
        assert float((found - expected).norm() / expected.norm()) < 0.05


def test_without_its_companion_a_latent_gives_noise_roughly(make, noise):
    process = make(BDIA(100), 1.0, 0.9)
    found = process.invert_pair(process.generate(noise))
    assert 1e-4 < float((found - noise).norm() / noise.norm()) < 0.05
    process = make(EDICT(100), 1.0, 0.9)
    latent = process.generate(noise)
    found = process.invert_pair(latent)
    process.companion = latent
    assert torch.equal(found, process.invert_pair(latent))


def test_steps_are_not_taken_by_single_points(make, noise):
    process = make(BDIA(3))
    with pytest.raises(ValueError, match="BDIA, which keeps pairs"):
        next(process.walk(noise))


def test_options_are_checked():
    with pytest.raises(ValueError, match="mixing"):
        EDICT(mixing=0.0)
    with pytest.raises(ValueError, match="gamma"):
        BDIA(gamma=0.0)


@pytest.mark.parametrize("kind", [EDICT, BDIA, BELM])
def test_noise_alone_has_no_pair(config, kind):
    options = config | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    with pytest.raises(ValueError, match=f"some data in the first point for {kind.__name__}, but it is noise alone"):
        kind(5).trajectory(options)


@pytest.mark.parametrize("options", [{"timestep_spacing": "linspace"}, {"steps_offset": 0}])
def test_belm_refuses_a_last_step_that_goes_nowhere(config, options):
    with pytest.raises(ValueError, match="each lower the noise for BELM, but the last one goes nowhere"):
        BELM(5).trajectory(config | options)
    assert len(BELM(5).trajectory(config | options | {"set_alpha_to_one": True}).steps) == 5
