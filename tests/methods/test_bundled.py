"""Exact inversion of samplers on the bundled diffusion model, under guidance, from the true latent."""

import torch

from decinv import Status
from decinv.data.noise import PROMPTS
from decinv.diffusion import DDIM, DiffusersPipeline, DPMSolver
from decinv.diffusion.conditioned import conditioned
from decinv.methods import ExactInversion
from decinv.metrics import nmse_db


def test_exact_inversion_of_a_multistep_sampler_is_exact():
    pipeline = DiffusersPipeline("bundled")
    noise = torch.randn(1, pipeline.channels, 16, 16, generator=torch.Generator().manual_seed(0))
    prompt = ["a red circle on a plain blue background"]
    process = conditioned(pipeline, DPMSolver(10), prompt, (16, 16), 8, guidance=3.0, device=torch.device("cpu"))
    result = ExactInversion().invert(process, process.generate(noise))
    assert result.status == (Status.CONVERGED,)
    assert 10 ** (float(nmse_db(result.latent, noise)) / 10) <= 1e-4


def test_exact_inversion_of_ddim_is_exact_where_an_offset_tells_two_preimages_apart():
    """With Stable Diffusion's times the second-last step leads to this image's point from two points."""
    pipeline = DiffusersPipeline("bundled")
    noise = torch.randn(16, pipeline.channels, 16, 16, generator=torch.Generator().manual_seed(7))[:1]
    errors = []
    for offset in (1, 4):
        sampler = DDIM(50, offset=offset)
        process = conditioned(pipeline, sampler, [PROMPTS[0]], (16, 16), 8, guidance=3.0, device=torch.device("cpu"))
        latent = process.generate(noise)
        result = ExactInversion().invert(process, latent)
        assert float(nmse_db(process.generate(result.latent), latent)) < -60  # either leads to the latent
        errors.append(float(nmse_db(result.latent, noise)))
    assert errors[0] > -30
    assert errors[1] < -60
    assert result.status == (Status.CONVERGED,)
