"""Pipelines of each kind: our prompts and trajectories are the pipeline's own."""

import json
import shutil

import diffusers
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from decinv.diffusion import (
    DDIM,
    Condition,
    DiffusersPipeline,
    DPMSolver,
    Euler,
    EulerAncestral,
    FlowEuler,
    Guidance,
    Process,
    RectifiedFlow,
    Stable3Euler,
)
from decinv.problems.newton_krylov import NewtonKrylovProblem

CPU = torch.device("cpu")
PROMPTS = ["a red circle on a blue background", "a blue square"]
SIZE = (32, 32)


def ours(path, sampler, scale, noise, added=None, negative=None, **options):
    pipeline = DiffusersPipeline(str(path), **options)
    prompt = pipeline.encode(PROMPTS, SIZE, CPU)
    away = pipeline.encode([negative] * len(PROMPTS), SIZE, CPU) if scale > 1 else None
    trajectory = sampler.trajectory(pipeline.config, pipeline.tokens(*noise.shape[-2:]))
    guidance = Guidance(pipeline.denoiser(CPU), scale)
    return Process(trajectory, guidance, Condition(prompt, away), added).generate(noise)


def noise(channels=4, seed=0):
    return torch.randn(2, channels, 16, 16, generator=torch.Generator().manual_seed(seed))


def close(found, expected):
    assert float((found - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_stable_diffusion_with_ddim(saved_pipeline, scale):
    path, theirs = saved_pipeline("stable")
    expected = theirs(
        PROMPTS, height=32, width=32, num_inference_steps=3, guidance_scale=scale, latents=noise(), output_type="latent"
    )
    close(ours(path, DDIM(3), scale, noise()), expected.images)


def test_stable_diffusion_with_another_solver_and_a_negative_prompt(saved_pipeline):
    path, theirs = saved_pipeline("stable")
    theirs = diffusers.StableDiffusionPipeline(
        **theirs.components | {"scheduler": diffusers.DPMSolverMultistepScheduler.from_pretrained(path / "scheduler")},
        requires_safety_checker=False,
    )
    theirs.set_progress_bar_config(disable=True)
    expected = theirs(
        PROMPTS,
        negative_prompt=["a red square"] * 2,
        **{"height": 32, "width": 32, "num_inference_steps": 4, "guidance_scale": 2.0, "latents": noise()},
        output_type="latent",
    )
    close(ours(path, DPMSolver(4), 2.0, noise(), negative="a red square"), expected.images)


@pytest.mark.parametrize("negative", [None, "a red square"])
def test_sdxl(saved_pipeline, negative):
    path, theirs = saved_pipeline("xl")
    expected = theirs(
        PROMPTS,
        negative_prompt=None if negative is None else [negative] * 2,
        **{"height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 3.0, "latents": noise()},
        output_type="latent",
    )
    close(ours(path, Euler(2), 3.0, noise(), negative=negative), expected.images)


def test_sdxl_turbo_with_its_noise(saved_pipeline):
    path, theirs = saved_pipeline("turbo")
    generator = torch.Generator().manual_seed(7)
    expected = theirs(
        PROMPTS,
        generator=torch.Generator().manual_seed(7),
        **{"height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 0.0, "latents": noise()},
        output_type="latent",
    )
    added = [torch.randn(2, 4, 16, 16, generator=generator) for _ in range(2)]
    close(ours(path, EulerAncestral(2), 0.0, noise(), added), expected.images)


def test_flux(saved_pipeline):
    path, theirs = saved_pipeline("flux")
    drawn = noise(4)
    packed = theirs._pack_latents(drawn, 2, 4, 16, 16)
    expected = theirs(
        PROMPTS,
        **{"height": 32, "width": 32, "num_inference_steps": 3, "max_sequence_length": 8, "latents": packed},
        output_type="latent",
    )
    unpacked = theirs._unpack_latents(expected.images, 32, 32, theirs.vae_scale_factor)
    close(ours(path, FlowEuler(3), 1.0, drawn, text_length=8), unpacked)


@pytest.mark.parametrize(("kind", "scale"), [("three", 1.0), ("three", 5.0), ("three_without_t5", 5.0)])
def test_stable_diffusion_3(saved_pipeline, kind, scale):
    path, theirs = saved_pipeline(kind)
    expected = theirs(
        PROMPTS,
        negative_prompt=["a red square"] * 2,
        **{"height": 32, "width": 32, "num_inference_steps": 3, "guidance_scale": scale, "latents": noise()},
        max_sequence_length=8,
        output_type="latent",
    )
    close(ours(path, Stable3Euler(3), scale, noise(), negative="a red square", text_length=8), expected.images)


@pytest.mark.parametrize(("kind", "patch"), [("stable", 1), ("xl", 1), ("flux", 2), ("three", 2)])
def test_latents_that_cannot_be_cut_into_patches_are_refused(saved_pipeline, kind, patch):
    pipeline = DiffusersPipeline(str(saved_pipeline(kind)[0]))
    assert pipeline.patch == patch
    pipeline.refuse_cells(4, 6)
    if patch == 1:
        pipeline.refuse_cells(3, 5)
        return
    for cells in ((3, 4), (4, 3)):
        with pytest.raises(ValueError, match="multiples of 2, the network's patch, but got"):
            pipeline.refuse_cells(*cells)


@pytest.mark.parametrize(
    ("option", "message"),
    [({"time_cond_proj_dim": 8}, "not told the guidance scale"), ({"in_channels": 9}, "takes 9 channels and gives 4")],
)
def test_networks_that_are_told_more_are_refused_before_they_are_loaded(saved_pipeline, tmp_path, option, message):
    path, _ = saved_pipeline("stable")
    shutil.copytree(path, tmp_path / "other")
    file = tmp_path / "other" / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | option))
    with pytest.raises(ValueError, match=message):
        DiffusersPipeline(str(tmp_path / "other"))


def test_instaflow_takes_the_velocity_as_it_is(saved_pipeline):
    path, _ = saved_pipeline("stable")
    pipeline = DiffusersPipeline(str(path))
    velocity = pipeline.denoiser(CPU).predict(noise(), torch.full((2,), 1000.0), pipeline.encode(PROMPTS, SIZE, CPU))
    close(ours(path, RectifiedFlow(1), 1.0, noise()), noise() + velocity)


def test_text_encoders_are_loaded_once_and_before_the_network(saved_pipeline, monkeypatch):
    path, _ = saved_pipeline("stable")
    pipeline = DiffusersPipeline(str(path))
    seen = []
    encode = pipeline._text.encode
    monkeypatch.setattr(pipeline._text, "encode", lambda texts, device: (seen.append(texts), encode(texts, device))[1])
    pipeline.encode(PROMPTS, SIZE, CPU)
    pipeline.encode([PROMPTS[1], None], SIZE, CPU)
    pipeline.encode(PROMPTS, SIZE, CPU)
    assert seen == [sorted(PROMPTS), [""]]
    assert pipeline._denoiser is None


def test_prompts_that_are_cut_are_told_of(caplog):
    pipeline = DiffusersPipeline("bundled")
    known = pipeline.encode(["a red circle on a plain blue background"], SIZE, CPU)
    assert not caplog.messages
    embedding = pipeline.encode(["a red circle " * 30, "a red circle"], SIZE, CPU).embedding
    assert embedding.shape[1:] == known.embedding.shape[1:]
    (message,) = caplog.messages
    assert message.startswith("1 of 2 prompts are cut to the 18 tokens")
    assert message.endswith("which has 92.")


def test_half_precision_keeps_points_in_float32(saved_pipeline):
    path, _ = saved_pipeline("stable")
    exact, rounded = (ours(path, DDIM(2), 1.0, noise(), dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert rounded.dtype == torch.float32
    assert 1e-5 < float((rounded - exact).norm() / exact.norm()) < 0.1


def test_what_is_no_pipeline_is_refused(saved_pipeline, tmp_path):
    with pytest.raises(FileNotFoundError, match="model_index"):
        DiffusersPipeline(str(tmp_path))
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text("{}")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "MochiPipeline"}))
    with pytest.raises(ValueError, match="MochiPipeline"):
        DiffusersPipeline(str(tmp_path))


def test_networks_have_forward_mode_derivatives(saved_pipeline):
    path, _ = saved_pipeline("stable")
    pipeline = DiffusersPipeline(str(path))
    prompt = pipeline.encode(PROMPTS, SIZE, CPU)
    process = Process(DDIM(2).trajectory(pipeline.config), Guidance(pipeline.denoiser(CPU), 2.0), Condition(prompt, prompt))
    step, point, direction = process.steps[0], noise(), noise(seed=1)
    problem = NewtonKrylovProblem(process, step, point, point, 2)
    with sdpa_kernel(SDPBackend.MATH), process.uncounted():
        tangent = torch.func.jvp(problem._map, (point,), (direction,))[1]
        difference = (problem._map(point + 1e-2 * direction) - problem._map(point - 1e-2 * direction)) / 2e-2
    assert float((tangent - difference).norm() / difference.norm()) < 1e-2
