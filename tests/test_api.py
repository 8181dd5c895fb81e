"""The Python front door gives what the solver gives, and says what is wrong with its input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import decinv
from decinv.api import load_update
from decinv.codecs import LinearCodec
from decinv.codecs.frames import as_clips
from decinv.diffusion import DDIM, DPMSolver, GaussianDenoiser, Pipeline, Prompt
from decinv.diffusion.conditioned import conditioned
from decinv.methods import NaiveInversion
from decinv.problems import DecoderProblem, GradientProblem
from decinv.solver import Solver
from decinv.updates import Anderson, ForwardStep, Scheduled

UPDATES = Path(__file__).parents[1] / "configs" / "update"


@pytest.fixture
def codec() -> LinearCodec:
    return LinearCodec()


def images(codec: LinearCodec, count: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    latent = 0.3 * torch.randn(count, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    return codec.decode(latent).clamp(-1, 1), latent


def test_invert_finds_the_fixed_point(codec):
    image, _ = images(codec)
    result = decinv.invert(image, codec)
    assert result.latent.shape == (5, 4, 4, 4)
    assert result.latent.dtype == torch.float32
    assert set(result.status) == {decinv.Status.CONVERGED}
    assert torch.allclose(result.latent, codec.fixed_point(image), atol=1e-4)
    recomputed = codec.encode(codec.decode(result.latent)) - codec.encode(image)
    relative = recomputed.flatten(1).norm(dim=1) / codec.encode(image).flatten(1).norm(dim=1)
    assert torch.allclose(result.residual, relative, atol=2e-6)


def test_history_has_one_row_an_iteration_and_is_nan_after_the_end(codec):
    image, _ = images(codec)
    result = decinv.invert(image, codec, batch_size=2)
    assert result.history.shape == (int(result.iterations.max()), 5)
    for sample in range(5):
        count = int(result.iterations[sample])
        assert result.history[:count, sample].isfinite().all()
        assert result.history[count:, sample].isnan().all()
        assert result.history[:count, sample].min() == result.residual[sample]


def test_max_iters_bounds_evaluations(codec):
    image, _ = images(codec)
    result = decinv.invert(image, codec, max_iters=3, rtol=0)
    assert result.evaluations.tolist() == [3] * 5
    assert set(result.status) == {decinv.Status.MAX_ITERS}


@pytest.mark.parametrize("path", sorted(UPDATES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_fragment_gives_an_update_rule(codec, path):
    image, _ = images(codec, 2)
    result = decinv.invert(image, codec, update=path, max_iters=4, rtol=0, patience=None)
    assert result.latent.isfinite().all()
    assert result.iterations.tolist() == [4, 4]


def test_fragment_equals_the_callable(codec):
    image, _ = images(codec, 2)
    by_path = decinv.invert(image, codec, update=str(UPDATES / "forward_step.yaml"), max_iters=6)
    by_call = decinv.invert(image, codec, update=lambda params: ForwardStep(params, lr=1.0), max_iters=6)
    assert torch.equal(by_path.latent, by_call.latent)


def test_paper_adam_fragment_follows_the_published_schedule(codec):
    rule = load_update(UPDATES / "paper_adam.yaml")([torch.nn.Parameter(torch.zeros(1, 4))])
    assert isinstance(rule, Scheduled)
    rule.reset(20)
    rates = []
    for _ in range(20):
        rates.append(rule.param_groups[0]["lr"])
        rule.point.grad = torch.ones(1, 4)
        rule.step()
    assert rates[:2] == pytest.approx([0.005, 0.01])
    assert rates[2] == pytest.approx(0.01)
    assert rates[16:] == pytest.approx([rates[15]] * 4)


def test_stock_optimizers_and_the_gradient_problem(codec):
    image, _ = images(codec, 2)
    result = decinv.invert(image, codec, lambda p: torch.optim.SGD(p, lr=0.4), max_iters=60, problem=GradientProblem)
    assert torch.allclose(result.latent, codec.fixed_point(image), atol=1e-3)


def test_a_result_does_not_depend_on_batch_mates(codec):
    image, _ = images(codec)
    together = decinv.invert(image, codec)
    for sample in range(5):
        alone = decinv.invert(image[sample : sample + 1], codec)
        assert torch.allclose(alone.latent[0], together.latent[sample], atol=1e-5)


def test_frames_of_clips_are_inverted_on_their_own_and_joined_again(codec):
    image, _ = images(codec, 6)
    image[4] = 0  # solved at once
    result = decinv.invert(as_clips(image, 3), codec, batch_size=6)
    frames = decinv.invert(image, codec, batch_size=6)
    assert torch.equal(result.latent[1, :, 2], frames.latent[5])
    assert torch.equal(result.residual, frames.residual.view(2, 3))
    assert torch.equal(result.iterations, frames.iterations.view(2, 3))
    assert result.history.shape == (len(frames.history), 2, 3)
    assert result.status == frames.status
    assert len(set(frames.iterations.tolist())) > 1
    with pytest.raises(ValueError, match="at least 1 frames, but got 0"):
        decinv.invert(torch.zeros(1, 3, 0, 16, 16), codec)


def test_a_nan_image_costs_the_others_nothing(codec):
    image, _ = images(codec)
    broken = image.clone()
    broken[2, 0, 0, 0] = torch.nan
    result = decinv.invert(broken, codec)
    assert result.status[2] is decinv.Status.DIVERGED
    others = [0, 1, 3, 4]
    assert torch.allclose(result.latent[others], decinv.invert(image, codec).latent[others], atol=1e-5)


def test_no_image_gives_an_empty_result(codec):
    result = decinv.invert(torch.empty(0, 3, 8, 8), codec)
    assert result.latent.shape == (0, 4, 2, 2)
    assert result.status == ()


def test_pil_images_and_paths_are_read_and_padded(codec, tmp_path):
    image = Image.effect_noise((10, 9), 60).convert("RGB")
    image.save(tmp_path / "a.png")
    result = decinv.invert([image, tmp_path / "a.png", str(tmp_path / "a.png")], codec)
    assert result.latent.shape == (3, 4, 3, 3)
    assert torch.allclose(result.latent[0], result.latent[1], atol=1e-5)


def test_an_unreadable_file_is_one_row(codec, tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    result = decinv.invert([tmp_path / "b.png", tmp_path / "a.png"], codec)
    assert result.status[0] is decinv.Status.UNREADABLE
    assert result.latent[0].isnan().all()
    assert result.latent[1].isfinite().all()
    assert result.iterations[0] == 0


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, "float tensor in .-1, 1."),
        (torch.full((1, 3, 8, 8), 255.0), ValueError, r"pixels in \[-1, 1\]"),
        (torch.zeros(3, 8, 8), ValueError, r"shape \(B, 3, H, W\)"),
        (torch.zeros(1, 3, 9, 8), ValueError, "multiples of 4"),
        ("one.png", TypeError, "list of PIL images"),
    ],
)
def test_bad_images_get_one_clear_sentence(codec, argument, error, message):
    with pytest.raises(error, match=message):
        decinv.invert(argument, codec)


def test_images_of_two_sizes_are_refused(codec):
    with pytest.raises(ValueError, match="one size, but got 8 x 8, 8 x 16"):
        decinv.invert([Image.new("RGB", (8, 8)), Image.new("RGB", (16, 8))], codec)


class PickyCodec(LinearCodec):
    """A codec whose decoder refuses small latents, as one that pads by reflection does."""

    def _decode(self, latent: torch.Tensor) -> torch.Tensor:
        if latent.shape[-1] < 3:
            raise RuntimeError("Padding size should be less than the input.")
        return super()._decode(latent)


def test_a_size_that_the_decoder_refuses_gets_one_sentence():
    sentence = (
        "Expected images that the codec takes, but got one of 8 x 8 pixels, and PickyCodec cannot decode it: Padding size "
        "should be less than the input; give images of another size."
    )
    with pytest.raises(ValueError, match=r"^Expected") as refused:
        decinv.invert(torch.zeros(2, 3, 8, 8), PickyCodec())
    assert str(refused.value) == sentence
    assert isinstance(refused.value.__cause__, RuntimeError)
    assert decinv.invert(torch.zeros(2, 3, 12, 12), PickyCodec()).latent.shape == (2, 4, 3, 3)


@pytest.mark.parametrize("error", [RuntimeError("solver"), torch.OutOfMemoryError("memory")])
def test_an_error_that_is_not_the_codecs_comes_through(codec, error):
    def problem(codec: LinearCodec, image: torch.Tensor) -> DecoderProblem:
        raise error

    with pytest.raises(type(error)) as raised:
        decinv.invert(torch.zeros(1, 3, 8, 8), codec, problem=problem)
    assert raised.value is error


def test_a_missing_or_wrong_fragment_is_named(codec, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        decinv.invert(torch.zeros(1, 3, 8, 8), codec, update="nowhere.yaml")
    path = tmp_path / "typo.yaml"
    path.write_text("class_path: decinv.updates.Anderson\ninit_args: {histroy: 3}\n")
    with pytest.raises(ValueError, match="histroy"):
        decinv.invert(torch.zeros(1, 3, 8, 8), codec, update=path)


def test_defaults_are_those_of_the_module():
    import inspect

    from decinv.modules import DecoderInversion

    ours = inspect.signature(decinv.invert).parameters
    theirs = inspect.signature(DecoderInversion.__init__).parameters
    for name in ("update", "max_iters", "rtol", "patience", "last_iterate"):
        assert ours[name].default == theirs[name].default
    assert ours["update"].default is Anderson


def test_images_that_do_not_fit_into_memory_together_are_inverted_in_halves():
    class SmallMachine(LinearCodec):
        def _decode(self, latent):
            if len(latent) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super()._decode(latent)

    images = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    result = decinv.invert(images, SmallMachine())
    expected = decinv.invert(images, LinearCodec())
    assert result.status == expected.status
    torch.testing.assert_close(result.latent, expected.latent, rtol=0, atol=1e-4)

    class NoMachine(LinearCodec):
        def _decode(self, latent):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        decinv.invert(images, NoMachine())


class Known(Pipeline):
    """A diffusion model of normal data, which prompts do not change."""

    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    channels = 4

    def encode(self, texts, size, device):
        self.texts = list(texts)
        return Prompt(torch.zeros(len(texts), 1, 1, 1, device=device))

    def denoiser(self, device):
        return GaussianDenoiser(self.config, 0.3).to(device)


@pytest.mark.parametrize(
    "option",
    [{"prompt": "a"}, {"guidance": 3.0}, {"sampler": DDIM(5)}, {"noise_seed": 1}],
    ids=lambda option: next(iter(option)),
)
def test_options_of_the_sampler_are_refused_without_a_pipeline(option):
    with pytest.raises(ValueError, match="Expected a `pipeline`, which prompt"):
        decinv.invert(torch.zeros(1, 3, 4, 4), LinearCodec(), **option)


def test_noise_that_does_not_fit_into_memory_together_is_found_in_halves():
    class Small(NaiveInversion):
        most = 1

        def invert(self, process, latent):
            if len(latent) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().invert(process, latent)

    codec = LinearCodec((1.0,) * 4, stride=2)
    images = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    options = {"pipeline": Known(), "prompt": ["a", "b", "c"]}
    found = decinv.invert(images, codec, **options, method=Small())
    expected = decinv.invert(images, codec, **options, method=NaiveInversion())
    torch.testing.assert_close(found.noise, expected.noise)
    assert (found.status, found.problems) == (expected.status, expected.problems)
    assert torch.equal(found.evaluations, expected.evaluations)
    assert torch.equal(found.iterations, expected.iterations)
    Small.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        decinv.invert(images, codec, **options, method=Small())


@pytest.mark.parametrize("sampler", [None, DPMSolver(6)], ids=["ddim", "2m"])
def test_invert_goes_on_to_the_noise(codec, sampler):
    pipeline = Known()
    noise = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    process = conditioned(pipeline, sampler or DDIM(), ["a"] * 3, (4, 4), codec.stride, guidance=2.0)
    image = codec.decode(codec.scaling.invert(process.generate(noise)))
    assert image.abs().max() < 1
    result = decinv.invert(
        *(image, codec),
        **{"rtol": 1e-7, "batch_size": 2, "pipeline": pipeline, "sampler": sampler, "guidance": np.float32(2.0)},
        prompt=["a", "b", "c"],
    )
    torch.testing.assert_close(result.noise, noise, atol=5e-3, rtol=0)
    assert torch.equal(result.latent, decinv.invert(image, codec, rtol=1e-7, batch_size=2).latent)
    assert result.residual.max() <= 2e-6
    assert len(result.status) == 3
    assert (result.evaluations > 6).all()
    assert decinv.invert(image, codec).noise is None


def test_the_codec_of_a_pipeline_is_its_own(codec, saved_pipeline):
    path = saved_pipeline("stable")[0]
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    options = {"prompt": ["a red circle", "a blue square"], "sampler": DDIM(2), "method": NaiveInversion(), "max_iters": 2}
    found = decinv.invert(image, pipeline=path, **options)
    expected = decinv.invert(image, decinv.load_codec(path), pipeline=path, **options)
    assert torch.equal(found.latent, expected.latent)
    assert torch.equal(found.noise, expected.noise)
    assert decinv.invert(image, pipeline="bundled", **options).latent.shape == (2, 4, 4, 4)
    for given in ({}, {"pipeline": Known()}):
        with pytest.raises(TypeError, match="Expected a codec, but got NoneType; load one with `load_codec`"):
            decinv.invert(image, **given)


def test_prompts_fit_the_images(codec, tmp_path):
    image, _ = images(codec, 2)
    with pytest.raises(ValueError, match="prompt"):
        decinv.invert(image, codec, pipeline=Known(), prompt=["a"] * 3)
    path = tmp_path / "x.png"
    Image.new("RGB", (16, 16), "grey").save(path)
    pipeline = Known()
    result = decinv.invert(["missing.png", path], codec, pipeline=pipeline, prompt=["a", "b"], method=NaiveInversion())
    assert pipeline.texts == ["b"]
    assert result.noise[0].isnan().all()
    assert result.noise[1].isfinite().all()
    assert result.status[0] is decinv.Status.UNREADABLE


def test_wrong_prompts_are_refused_before_anything_is_solved(monkeypatch):
    monkeypatch.setattr(Solver, "step", lambda solver: pytest.fail("solved"))
    codec = LinearCodec((1.0,) * 4, stride=2)
    with pytest.raises(ValueError, match="4 latent channels, which the pipeline's network takes, but got one with 1"):
        decinv.invert(torch.zeros(1, 3, 4, 4), LinearCodec((1.0,), stride=2), pipeline=Known())
    patched = Known()
    patched.patch = 2
    with pytest.raises(ValueError, match="multiples of 2, the network's patch, but got 3 x 2"):
        decinv.invert(torch.zeros(1, 3, 6, 4), codec, pipeline=patched)
    with pytest.raises(ValueError, match="one for each of 1 images, but got 2"):
        decinv.invert(torch.zeros(1, 3, 4, 4), codec, pipeline=Known(), prompt=["a", "b"])


def test_a_pipeline_of_diffusers_is_refused_in_one_sentence(codec, saved_pipeline):
    with pytest.raises(TypeError, match=r"but got StableDiffusionPipeline .*; save it with `save_pretrained`") as refused:
        decinv.invert(torch.zeros(1, 3, 8, 8), codec, pipeline=saved_pipeline("stable")[1])
    assert len(str(refused.value).splitlines()) == 1


def test_what_is_no_codec_or_no_image_is_refused(codec):
    image = torch.zeros(1, 3, 8, 8)
    with pytest.raises(TypeError, match="Expected a codec, but got str; load one with `load_codec`"):
        decinv.invert(image, "bundled")
    with pytest.raises(TypeError, match="but got one of Tensor; stack tensors"):
        decinv.invert([image[0]], codec)
    with pytest.raises(ValueError, match=r"`dtype` to be one of float32, bfloat16, float16, but got torch\.float16"):
        decinv.load_codec(dtype=torch.float16)


def test_what_is_no_list_of_images_is_refused_with_how_to_make_one(codec):
    array = np.zeros((8, 8, 3), np.uint8)
    picture = Image.fromarray(array)
    for one in (picture, "photo.png", array, (image for image in [picture])):
        with pytest.raises(
            TypeError, match=r"put a single image into a list, and make arrays images by `PIL\.Image\.fromarray`\.$"
        ):
            decinv.invert(one, codec)
    with pytest.raises(TypeError, match=r"one of ndarray; .* make arrays images by `PIL\.Image\.fromarray`\.$"):
        decinv.invert([array], codec)


@pytest.mark.parametrize("option", ["batch_size", "max_iters", "patience", "gradient_steps"])
def test_counts_are_whole_numbers_of_python_or_numpy(codec, option):
    image, _ = images(codec, 3)
    expected = decinv.invert(image, codec, **{option: 2})
    assert torch.equal(decinv.invert(image, codec, **{option: np.int64(2)}).latent, expected.latent)
    for wrong in (2.5, "2"):
        with pytest.raises(TypeError, match=f"^Expected `{option}` to be a whole number, but got {wrong!r}\\.$"):
            decinv.invert(image, codec, **{option: wrong})


def test_an_update_that_makes_no_optimizer_is_refused(codec):
    image, _ = images(codec, 1)
    with pytest.raises(TypeError, match=r"^Expected `update` to be a callable from parameters to an optimizer, .* but got int"):
        decinv.invert(image, codec, update=3)
    with pytest.raises(TypeError, match="Expected an optimizer as the update rule, but got NoneType"):
        decinv.invert(image, codec, update=lambda parameters: None)


def test_histories_of_chunks_are_aligned_by_their_problems(codec):
    """Chunks take different numbers of iterations for the same problem."""
    image, _ = images(codec, 3)
    image[2] = 0.9 * torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) if image.shape[-1] == 16 else image[2]
    options = {"pipeline": Known(), "sampler": DDIM(3), "guidance": 2.0, "rtol": 1e-7, "patience": None}
    alone = [decinv.invert(image[i : i + 1], codec, **options) for i in range(3)]
    together = decinv.invert(image, codec, batch_size=1, **options)
    assert together.problems == tuple(max(lengths) for lengths in zip(*(one.problems for one in alone), strict=True))
    assert len(together.history) == sum(together.problems)
    start = 0
    for place, most in enumerate(together.problems):
        for row, one in enumerate(alone):
            first, length = sum(one.problems[:place]), one.problems[place]
            expected = one.history[first : first + length, 0]
            torch.testing.assert_close(
                together.history[start : start + length, row], expected, rtol=1e-3, atol=1e-6, equal_nan=True
            )
            assert together.history[start + length : start + most, row].isnan().all()
        start += most


def test_no_images_give_no_noise(codec):
    empty = torch.empty(0, 3, 8, 8)
    assert decinv.invert(empty, codec, pipeline=Known()).noise.shape[0] == 0
    assert decinv.invert([], codec, pipeline=Known()).noise.shape[0] == 0
    assert decinv.invert(torch.empty(0, 3, 2, 8, 8), codec).latent.shape[0] == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"sampler": "ddim"}, TypeError),
        ({"method": "naive"}, TypeError),
        ({"pipeline": torch.nn.Linear(1, 1)}, TypeError),
        ({"negative_prompt": ["a"]}, TypeError),
        ({"negative_prompt": "a"}, ValueError),
        ({"guidance": "3"}, TypeError),
        ({"prompt": None}, TypeError),
        ({"prompt": [1]}, TypeError),
        ({"guidance": -1.0}, ValueError),
        ({"guidance": float("inf")}, ValueError),
        ({"guidance": float("nan")}, ValueError),
        ({"noise_seed": 2**70}, ValueError),
        ({"noise_seed": 1.5}, ValueError),
    ],
)
def test_wrong_arguments_of_the_sampler_are_refused_before_anything_is_solved(codec, monkeypatch, options, error):
    monkeypatch.setattr(Solver, "step", lambda solver: pytest.fail("solved"))
    with pytest.raises(error, match="Expected"):
        decinv.invert(torch.zeros(1, 3, 8, 8), codec, **{"pipeline": Known(), **options})


@pytest.mark.parametrize("gradient_steps", [0, 3])
def test_the_callers_modes_change_nothing(codec, gradient_steps):
    image, _ = images(codec)
    options = {"gradient_steps": gradient_steps, "max_iters": 6}
    expected = decinv.invert(image, codec, **options).latent
    with torch.inference_mode():
        assert torch.equal(decinv.invert(image.clone(), codec, **options).latent, expected)
        decinv.invert(image.clone(), codec, problem=GradientProblem, max_iters=2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(decinv.invert(image, codec, **options).latent, expected)


def test_the_default_device_and_gradients_of_images_change_nothing(codec, tmp_path):
    image = images(codec, 2)[0]
    expected = decinv.invert(image, codec).latent
    Image.new("I;16", (16, 16), 1000).save(tmp_path / "a.png", transparency=7)
    file = decinv.invert([tmp_path / "a.png"], codec).latent
    with torch.device("meta"):  # stands in for CUDA: what is made there by oversight has no content
        assert torch.equal(decinv.invert(image, codec).latent, expected)
        assert torch.equal(decinv.invert([tmp_path / "a.png"], codec).latent, file)
    assert torch.equal(decinv.invert(image.clone().requires_grad_(), codec).latent, expected)
