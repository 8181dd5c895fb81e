"""Pipelines of each kind: our prompts and trajectories are the pipeline's own."""

import json
import shutil
from functools import partial
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel

from decinv.codecs import load_codec
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
from decinv.diffusion.conditioned import conditioned
from decinv.problems.newton_krylov import NewtonKrylovProblem
from decinv.weights import variant_of

CPU = torch.device("cpu")
PROMPTS = ["a red circle on a blue background", "a blue square"]
SIZE = (32, 32)


def ours(path, sampler, scale, noise, added=None, negative=None, **options):
    pipeline = DiffusersPipeline(str(path), **options)
    prompt = pipeline.encode(PROMPTS, SIZE, CPU)
    away = pipeline.encode([negative] * len(PROMPTS), SIZE, CPU) if scale > 1 else None
    trajectory = pipeline.trajectory(sampler, noise.shape[-2:])
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


@pytest.mark.filterwarnings("ignore:The configuration file of this scheduler")
@pytest.mark.parametrize("offset", [{"steps_offset": 0}, {}], ids=str)
def test_stable_diffusion_with_an_outdated_offset(saved_pipeline, tmp_path, offset):
    path = tmp_path / "other"
    shutil.copytree(saved_pipeline("stable")[0], path)
    file = path / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text())
    del config["steps_offset"]
    file.write_text(json.dumps(config | offset))
    theirs = diffusers.StableDiffusionPipeline.from_pretrained(path)
    theirs.set_progress_bar_config(disable=True)
    options = {"height": 32, "width": 32, "guidance_scale": 1.0, "latents": noise(), "output_type": "latent"}
    close(ours(path, DDIM(3), 1.0, noise()), theirs(PROMPTS, num_inference_steps=3, **options).images)
    theirs.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(theirs.scheduler.config, timestep_spacing="leading")
    close(ours(path, DPMSolver(3, spacing="leading"), 1.0, noise()), theirs(PROMPTS, num_inference_steps=3, **options).images)


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


def test_sdxl_whose_index_does_not_say_what_stands_for_no_prompt(saved_pipeline, tmp_path):
    path = copied(saved_pipeline, "xl", tmp_path)
    index = json.loads((path / "model_index.json").read_text())
    del index["force_zeros_for_empty_prompt"]
    (path / "model_index.json").write_text(json.dumps(index))
    theirs = diffusers.StableDiffusionXLPipeline.from_pretrained(path, add_watermarker=False)
    theirs.set_progress_bar_config(disable=True)
    options = {"height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 3.0, "latents": noise()}
    close(ours(path, Euler(2), 3.0, noise()), theirs(PROMPTS, **options, output_type="latent").images)


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


def test_flux_shifts_times_by_its_own_largest_shift_where_the_scheduler_has_none(saved_pipeline, tmp_path):
    path = copied(saved_pipeline, "flux", tmp_path)
    flows = {"use_dynamic_shifting": True, "use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    scheduler = diffusers.DPMSolverMultistepScheduler(**flows)
    scheduler.save_pretrained(path / "scheduler")
    scheduler.set_timesteps(3, mu=1.15)  # that of an image of the largest size that shifts are given for
    steps = DiffusersPipeline(str(path)).trajectory(DPMSolver(3), (128, 128)).steps
    assert [step.start.sigma for step in steps] == pytest.approx(scheduler.sigmas[:-1].tolist(), rel=1e-6)


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


def test_the_bundled_codec_is_refused_where_the_pipeline_has_its_own(saved_pipeline, tmp_path):
    path, codec = copied(saved_pipeline, "stable", tmp_path), load_codec("bundled")
    with pytest.raises(ValueError, match=r"which has its own, but got the bundled one, .* give that path to the codec too"):
        DiffusersPipeline(str(path)).refuse_codec(codec)
    DiffusersPipeline(str(path)).refuse_codec(load_codec(path))
    DiffusersPipeline().refuse_codec(codec)
    index = json.loads((path / "model_index.json").read_text()) | {"vae": [None, None]}  # as `configs/train` leave it
    (path / "model_index.json").write_text(json.dumps(index))
    DiffusersPipeline(str(path)).refuse_codec(codec)


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


def test_the_number_of_steps_does_not_depend_on_the_size_as_their_times_may(saved_pipeline):
    pipeline, sampler = DiffusersPipeline(str(saved_pipeline("flux")[0])), FlowEuler(3)
    pipeline.config = {**pipeline.config, "use_dynamic_shifting": True}
    small, large = ([step.time for step in pipeline.trajectory(sampler, (side, side)).steps] for side in (16, 128))
    assert [step.time for step in pipeline.trajectory(sampler).steps] == large
    assert len(large) == len(small) == 3
    assert small != large


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


@pytest.mark.parametrize("negative", [None, "", "a red square"])
def test_text_encoders_are_loaded_once_for_prompts_and_negative_prompt(saved_pipeline, monkeypatch, negative):
    pipeline, apart = (DiffusersPipeline(str(saved_pipeline("xl")[0])) for _ in range(2))
    seen = []
    encode = pipeline._text.encode
    monkeypatch.setattr(pipeline._text, "encode", lambda texts, device: (seen.append(texts), encode(texts, device))[1])
    condition = conditioned(pipeline, Euler(2), PROMPTS, (16, 24), 2, 3.0, negative).condition
    assert len(seen) == 1
    for found, texts in ((condition.prompt, PROMPTS), (condition.negative, [negative] * 2)):
        for part, expected in zip(found, apart.encode(texts, (32, 48), CPU), strict=True):
            torch.testing.assert_close(part, expected)
    assert (condition.negative.embedding == 0).all() == (negative is None)
    assert condition.negative.size[0].tolist() == [32, 48, 0, 0, 32, 48]
    assert conditioned(pipeline, Euler(2), PROMPTS, (16, 24), 2).condition.negative is None


def test_embeddings_of_many_prompts_are_kept_by_their_last_use(saved_pipeline, monkeypatch):
    texts = [f"a red circle {number}" for number in range(6)]
    unbounded = DiffusersPipeline(str(saved_pipeline("xl")[0]))
    expected = unbounded.encode(texts, SIZE, CPU)
    size = sum(part.nbytes for part in unbounded._prompts[texts[0]] if part is not None)
    monkeypatch.setattr("decinv.diffusion.pipeline.KEPT", 3 * size)
    pipeline = DiffusersPipeline(str(saved_pipeline("xl")[0]))
    pipeline.encode(texts[:3], SIZE, CPU)
    pipeline.encode(texts[:1], SIZE, CPU)
    pipeline.encode(texts[3:4], SIZE, CPU)
    assert list(pipeline._prompts) == [texts[2], texts[0], texts[3]]
    every = pipeline.encode(texts, SIZE, CPU)  # more at once than are kept
    torch.testing.assert_close(every.embedding, expected.embedding)
    torch.testing.assert_close(every.pooled, expected.pooled)


def test_prompts_that_are_cut_are_told_of(caplog):
    pipeline = DiffusersPipeline("bundled")
    known = pipeline.encode(["a red circle on a plain blue background"], SIZE, CPU)
    assert not caplog.messages
    embedding = pipeline.encode(["a red circle " * 30, "a red circle"], SIZE, CPU).embedding
    assert embedding.shape[1:] == known.embedding.shape[1:]
    (message,) = caplog.messages
    assert message.startswith("1 of 2 prompts are cut to the 18 tokens")
    assert message.endswith("which has 92.")


def test_words_that_the_bundled_model_never_saw_are_told_of(caplog, saved_pipeline):
    DiffusersPipeline("bundled").encode(["A red circle, on a plain blue background!", ""], SIZE, CPU)
    assert not caplog.messages
    DiffusersPipeline("bundled").encode(["a photo of a red cat", "a cat"], SIZE, CPU)
    (message,) = caplog.messages
    assert message.endswith("others in the prompts tell it nothing: cat, of, photo.")
    DiffusersPipeline(str(saved_pipeline("stable")[0])).encode(["a photo of a red cat"], SIZE, CPU)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("options", [{"told_guidance": 2.0}, {"text_length": 8}], ids=str)
def test_options_that_a_kind_has_no_use_for_are_refused(saved_pipeline, options):
    with pytest.raises(ValueError, match=f"Expected no `{next(iter(options))}`"):
        DiffusersPipeline(str(saved_pipeline("stable")[0]), **options)


def test_a_prompt_has_at_least_one_token(saved_pipeline):
    with pytest.raises(ValueError, match="Expected a positive `text_length` for FluxPipeline, but got 0"):
        DiffusersPipeline(str(saved_pipeline("flux")[0]), text_length=0)


def test_half_precision_keeps_points_in_float32(saved_pipeline):
    path, _ = saved_pipeline("stable")
    exact, rounded = (ours(path, DDIM(2), 1.0, noise(), dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert rounded.dtype == torch.float32
    assert 1e-5 < float((rounded - exact).norm() / exact.norm()) < 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", ["stable", "xl", "three", "flux"])
def test_weights_have_the_format_that_was_asked_for(saved_pipeline, kind, dtype):
    path, _ = saved_pipeline(kind)
    model = DiffusersPipeline(str(path), str(dtype).removeprefix("torch.")).denoiser(CPU).model
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_what_is_no_pipeline_is_refused(saved_pipeline, tmp_path):
    with pytest.raises(FileNotFoundError, match="model_index"):
        DiffusersPipeline(str(tmp_path))
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
        work = partial(problem._map, rows=problem.rows)
        tangent = torch.func.jvp(work, (point,), (direction,))[1]
        difference = (work(point + 1e-2 * direction) - work(point - 1e-2 * direction)) / 2e-2
    assert float((tangent - difference).norm() / difference.norm()) < 1e-2


def test_newton_steps_are_taken_under_autocast(saved_pipeline):
    pipeline = DiffusersPipeline(str(saved_pipeline("stable")[0]))
    prompt = pipeline.encode(PROMPTS, SIZE, CPU)
    process = Process(DDIM(20).trajectory(pipeline.config), Guidance(pipeline.denoiser(CPU)), Condition(prompt))
    step, point = process.steps[10], noise()
    exact = NewtonKrylovProblem(process, step, point, point, 2).evaluate(point)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = NewtonKrylovProblem(process, step, point, point, 2).evaluate(point)
    assert rounded.residual.dtype == torch.float32
    assert float((rounded.residual - exact.residual).norm() / exact.residual.norm()) < 0.05


def copied(saved_pipeline, kind, directory):
    """Copy a pipeline to spoil it."""
    return Path(shutil.copytree(saved_pipeline(kind)[0], directory / "other"))


def rewrite(file, change):
    """Change the tensors of a file of weights."""
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize("folder", ["unet", "text_encoder", "tokenizer"])
def test_parts_that_are_not_there_are_refused_at_once(saved_pipeline, tmp_path, folder):
    path = copied(saved_pipeline, "stable", tmp_path)
    shutil.rmtree(path / folder)
    if folder == "unet":
        (path / folder).mkdir()
        shutil.copy(saved_pipeline("stable")[0] / folder / "config.json", path / folder)
    with pytest.raises(FileNotFoundError, match=f"{folder}, which the pipeline needs"):
        DiffusersPipeline(str(path))


def test_a_text_encoder_without_its_config_is_refused_at_once(saved_pipeline, tmp_path):
    path = copied(saved_pipeline, "stable", tmp_path)
    (path / "text_encoder" / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"Expected config\.json in .*text_encoder, which the pipeline needs"):
        DiffusersPipeline(str(path))


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_tokenizer_that_is_not_whole_gets_one_sentence(saved_pipeline, tmp_path, file):
    path = copied(saved_pipeline, "stable", tmp_path)
    (path / "tokenizer" / file).unlink()
    with pytest.raises(ValueError, match=r"Expected a loadable tokenizer in .*tokenizer, but got") as refused:
        DiffusersPipeline(str(path)).encode(PROMPTS, SIZE, CPU)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tensors: tensors.pop(min(tensors)), "lacks 1, such as .*, which would be random"),
        (lambda tensors: tensors[min(tensors)].fill_(torch.nan), "Expected finite weights"),
    ],
)
@pytest.mark.parametrize("folder", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_weights_that_are_not_whole_are_refused(saved_pipeline, tmp_path, folder, spoil, message):
    path = copied(saved_pipeline, "stable", tmp_path)
    rewrite(path / f"{folder}.safetensors", spoil)
    pipeline = DiffusersPipeline(str(path))
    with pytest.raises(ValueError, match=message):
        pipeline.denoiser(CPU) if "unet" in folder else pipeline.encode(PROMPTS, SIZE, CPU)


@pytest.mark.parametrize("folder", ["unet/diffusion_pytorch_model", "text_encoder/model"])
def test_files_that_are_cut_get_one_sentence(saved_pipeline, tmp_path, folder):
    path = copied(saved_pipeline, "stable", tmp_path)
    file = path / f"{folder}.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    pipeline = DiffusersPipeline(str(path))
    with pytest.raises(ValueError, match="Expected a loadable"):
        pipeline.denoiser(CPU) if "unet" in folder else pipeline.encode(PROMPTS, SIZE, CPU)


def test_weights_of_a_variant_alone_are_loaded(saved_pipeline, tmp_path):
    path = copied(saved_pipeline, "stable", tmp_path)
    expected = ours(path, DDIM(2), 2.0, noise())
    for file in (path / "unet" / "diffusion_pytorch_model", path / "text_encoder" / "model"):
        file.with_name(f"{file.name}.safetensors").rename(file.with_name(f"{file.name}.fp16.safetensors"))
    assert torch.equal(ours(path, DDIM(2), 2.0, noise()), expected)


def test_of_several_variants_the_first_by_name_is_loaded():
    for names in (
        ["model.non_ema.safetensors", "model.fp16.safetensors"],
        ["model.fp16.safetensors", "model.non_ema.safetensors"],
    ):
        assert variant_of(map(Path, names)) == "fp16"
    assert variant_of(map(Path, ["model.fp16.safetensors", "model.safetensors"])) is None


def test_sdxl_without_its_first_text_encoder(saved_pipeline, pipelines, tmp_path):
    _, theirs = saved_pipeline("xl")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = pipelines.xl_unet(16)
    alone = diffusers.StableDiffusionXLPipeline(
        **theirs.components | {"text_encoder": None, "tokenizer": None, "unet": network},
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    alone.save_pretrained(tmp_path / "alone")
    alone.set_progress_bar_config(disable=True)
    options = {"height": 32, "width": 32, "num_inference_steps": 2, "guidance_scale": 3.0, "latents": noise()}
    close(ours(tmp_path / "alone", Euler(2), 3.0, noise()), alone(PROMPTS, **options, output_type="latent").images)


@pytest.mark.parametrize(
    ("kind", "file", "change", "message"),
    [
        ("stable", "unet/config.json", {"in_channels": None}, "`in_channels`"),
        ("stable", "unet/config.json", {"num_class_embeds": 3}, "`num_class_embeds` 3"),
        ("stable", "unet/config.json", {"addition_embed_type": "image"}, "`addition_embed_type` 'image'"),
        ("xl", "model_index.json", {"requires_aesthetics_score": True}, "refiner"),
        ("stable", "model_index.json", {"controlnet": ["diffusers", "ControlNetModel"]}, "the part `controlnet`"),
        ("stable", "model_index.json", {"text_encoder": [None, None], "tokenizer": [None, None]}, "with a text encoder"),
        ("stable", "model_index.json", [], "but it holds a list"),
    ],
)
def test_pipelines_that_need_more_are_refused_at_once(saved_pipeline, tmp_path, kind, file, change, message):
    path = copied(saved_pipeline, kind, tmp_path)
    content = json.loads((path / file).read_text())
    if isinstance(change, dict):
        change = {key: value for key, value in (content | change).items() if value is not None}
    (path / file).write_text(json.dumps(change))
    with pytest.raises(ValueError, match=message):
        DiffusersPipeline(str(path))


@pytest.mark.parametrize("dtype", ["foat32", "float64"])
def test_number_formats_that_are_none_are_refused(dtype):
    with pytest.raises(ValueError, match=f"Expected `dtype` to be one of float32, bfloat16, float16, but got '{dtype}'"):
        DiffusersPipeline(dtype=dtype)
