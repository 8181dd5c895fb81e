"""Samplers with an inverse."""

import pytest
import torch

from decinv.diffusion import DDIM, EulerAncestral, GaussianDenoiser, Guidance, Process
from decinv.diffusion.invertible import BDIA, EDICT


@pytest.fixture
def process(config, condition, deviation):
    return Process(DDIM(20).trajectory(config), Guidance(GaussianDenoiser(config, deviation), 3.0), condition)


@pytest.mark.parametrize("sampler", [EDICT(), BDIA(), BDIA(0.8)], ids=["edict", "bdia", "bdia0.8"])
def test_round_trip(process, noise, sampler):
    torch.testing.assert_close(sampler.invert(process, sampler.generate(process, noise)), noise, rtol=1e-3, atol=1e-3)


def test_one_trajectory_of_edict_by_hand(process, noise):
    x, y = EDICT(0.9).generate(process, noise)
    a = b = noise.double()
    for step in process.steps:
        ratio = step.end.alpha / step.start.alpha
        weight = step.end.sigma - ratio * step.start.sigma
        a = ratio * a + weight * step.eps(b, process.predict(step, b.float()))
        b = ratio * b + weight * step.eps(a, process.predict(step, a.float()))
        a = 0.9 * a + 0.1 * b
        b = 0.9 * b + 0.1 * a
    torch.testing.assert_close(x, a)
    torch.testing.assert_close(y, b)


def test_bdia_without_weight_of_the_past_is_ddim(process, noise):
    sampler = BDIA(1.0)
    sampler.gamma = 0.0
    torch.testing.assert_close(sampler.generate(process, noise)[0].float(), process.generate(noise), rtol=1e-4, atol=1e-4)


def test_edict_and_bdia_stay_near_ddim(config, condition, noise):
    fine = Process(DDIM(200).trajectory(config), Guidance(GaussianDenoiser(config, 1.0)), condition)
    expected = fine.generate(noise)
    for sampler in (EDICT(), BDIA(0.5)):
        found = sampler.generate(fine, noise)[0].float()
        assert float((found - expected).norm() / expected.norm()) < 0.05


def test_noise_in_steps_is_refused(config, condition, noise):
    added = [noise] * 2
    process = Process(EulerAncestral(2).trajectory(config), Guidance(GaussianDenoiser(config)), condition, added)
    with pytest.raises(ValueError, match="ancestral"):
        EDICT().generate(process, noise)
    with pytest.raises(ValueError, match="mixing"):
        EDICT(0.0)
    with pytest.raises(ValueError, match="gamma"):
        BDIA(0.0)
