"""Exact inversion of samplers on the bundled diffusion model, under guidance, from the true latent."""

from dataclasses import replace

import pytest
import torch

from decinv import Status
from decinv.data.noise import PROMPTS
from decinv.diffusion import DDIM, DiffusersPipeline, DPMSolver
from decinv.diffusion.conditioned import conditioned
from decinv.methods import ExactInversion
from decinv.metrics import nmse_db


@pytest.mark.parametrize(("sampler", "bound"), [(DDIM(50), 1e-6), (DPMSolver(10), 1e-4)], ids=["ddim", "2m"])
def test_exact_inversion_is_exact(sampler, bound):
    pipeline = DiffusersPipeline("bundled")
    noise = torch.randn(1, pipeline.channels, 16, 16, generator=torch.Generator().manual_seed(0))
    prompt = ["a red circle on a plain blue background"]
    process = conditioned(pipeline, sampler, prompt, (16, 16), 8, guidance=3.0, device=torch.device("cpu"))
    result = ExactInversion().invert(process, process.generate(noise))
    assert result.status == (Status.CONVERGED,)
    assert 10 ** (float(nmse_db(result.latent, noise)) / 10) <= bound


def test_an_offset_tells_two_preimages_apart():
    """With Stable Diffusion's times the second-last step leads to this image's point from two points."""
    pipeline = DiffusersPipeline("bundled")
    noise = torch.randn(16, pipeline.channels, 16, 16, generator=torch.Generator().manual_seed(7))[:1]
    errors = []
    for offset in (1, 4):
        sampler = DDIM(50, offset=offset)
        process = conditioned(pipeline, sampler, [PROMPTS[0]], (16, 16), 8, guidance=3.0, device=torch.device("cpu"))
        *_, visited, _ = process.walk(noise)
        last = process.along(replace(process.trajectory, steps=process.trajectory.steps[-2:], start=1.0))
        latent = last.generate(visited.point)
        result = ExactInversion().invert(last, latent)
        assert float(nmse_db(last.generate(result.latent), latent)) < -80  # either leads to the latent
        errors.append(float(nmse_db(result.latent, visited.point)))
    assert errors[0] > -50
    assert errors[1] < -80
    assert result.status == (Status.CONVERGED,)
