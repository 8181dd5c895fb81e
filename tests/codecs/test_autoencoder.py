"""The options of the wrapper of diffusers' autoencoders, and what it refuses; test_classes.py has every class."""

import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch

from decinv.codecs import AutoencoderCodec, LinearCodec, load_codec, probing
from decinv.codecs.driver import ClipDriver
from decinv.codecs.drivers import DRIVERS, UNSUPPORTED
from decinv.codecs.tiny import INSTANCES
from decinv.memory import MIB, PeakMemory
from decinv.problems import GradientProblem

IMAGES = ["kl", "kl16", "tiny", "dc", "asymmetric", "vq"]
Saved = Callable[[str], Path]


def test_the_latent_is_the_mode_not_a_draw(saved: Saved, images) -> None:
    codec = load_codec(saved("kl"))
    image = images(1, 32, 32)
    with torch.no_grad():
        posterior = codec.model.encode(image).latent_dist
    assert torch.equal(codec.encode(image), posterior.mean)
    assert posterior.std.min() > 0


def test_vq_latents_are_those_before_quantisation(saved: Saved, images) -> None:
    codec = load_codec(saved("vq"))
    image = images(1, 32, 32)
    with torch.no_grad():
        assert torch.equal(codec.encode(image), codec.model.encode(image).latents)


@pytest.mark.parametrize("folder", ["vae", "vqvae"])
def test_a_pipeline_s_autoencoder_is_found(saved: Saved, images, tmp_path: Path, folder: str) -> None:
    shutil.copytree(saved("kl"), tmp_path / folder)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    image = images(1, 32, 32)
    expected = load_codec(saved("kl")).encode(image)
    assert torch.equal(AutoencoderCodec(str(tmp_path)).encode(image), expected)
    assert torch.equal(AutoencoderCodec(str(tmp_path), subfolder=folder).encode(image), expected)


def test_an_explicit_subfolder_is_not_searched_for_elsewhere(saved: Saved, tmp_path: Path) -> None:
    shutil.copytree(saved("kl"), tmp_path / "vae")
    with pytest.raises(FileNotFoundError, match=r"has none of movq/config\.json"):
        AutoencoderCodec(str(tmp_path), subfolder="movq")


@pytest.mark.parametrize("name", IMAGES)
@torch.no_grad()
def test_a_memory_budget_is_kept_and_changes_nothing(saved: Saved, images, name: str) -> None:
    whole = load_codec(saved(name))
    image = images(5, 32, 64)
    latent = whole.encode(image)
    with PeakMemory("cpu") as encode:
        whole.encode(image[:2])
    with PeakMemory("cpu") as decode:
        whole.decode(latent[:2])
    budget = 1.05 * max(encode.mib, decode.mib)
    codec = AutoencoderCodec(str(saved(name)), memory_mib=budget)
    for work, rows, plain in ((codec.encode, image, whole.encode), (codec.decode, latent, whole.decode)):
        work(rows)  # measures
        with PeakMemory("cpu") as peak:
            coded = work(rows)
        with PeakMemory("cpu") as unbounded:
            plain(rows)
        results = 2 * coded.nbytes / MIB  # of the parts, and joined
        assert peak.mib <= budget + results
        assert unbounded.mib > budget + results
        torch.testing.assert_close(coded, plain(rows), rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_image_above_the_budget_is_coded_alone_with_one_warning(saved: Saved, images) -> None:
    codec, whole = AutoencoderCodec(str(saved("kl")), memory_mib=0.01), load_codec(saved("kl"))
    image = images(3, 32, 64)
    with pytest.warns(
        UserWarning, match=r"one row of shape \(3, 32, 64\) takes .* MiB, more than the budget of 0.01 MiB"
    ) as told:
        latent = codec.encode(image)
    assert len(told) == 1
    assert torch.equal(latent, torch.cat([whole.encode(row) for row in image.split(1)]))
    assert torch.equal(codec.decode(latent), torch.cat([whole.decode(row) for row in latent.split(1)]))


def test_gradients_pass_a_budget(saved: Saved, images) -> None:
    codec, whole = AutoencoderCodec(str(saved("kl")), memory_mib=0.01), load_codec(saved("kl"))
    latent = whole.encode(images(2, 32, 32)).requires_grad_()
    (expected,) = torch.autograd.grad(whole.decode(latent).square().sum(), latent)
    (found,) = torch.autograd.grad(codec.decode(latent).square().sum(), latent)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["asymmetric", "vq"])
def test_tiling_that_a_class_lacks_is_refused(saved: Saved, name: str) -> None:
    with pytest.raises(ValueError, match=r"with tiling, but .* has none; leave `tiling` off"):
        AutoencoderCodec(str(saved(name)), tiling=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("hunyuan_image", r"tiling fails for 66 x 64 pixels: not enough values"),
        ("hunyuan_refiner", "tiling fails for 260 x 64 pixels, which come back in another shape"),
        ("cosmos", "520 x 64 pixels are encoded whole with tiling, too"),
        ("kvae_video", "there are no tiles"),
    ],
)
def test_tiling_that_does_not_work_is_refused_before_an_image_is_larger_than_a_tile(saved: Saved, name: str, what: str) -> None:
    """Classes of diffusers 0.42 whose switch has no effect, or breaks images that are larger than a tile."""
    with pytest.raises(ValueError, match=rf"cannot code them \({what}.*\); leave `tiling` off"):
        AutoencoderCodec(str(saved(name)), tiling=True)
    load_codec(saved(name))


def test_tiles_of_four_channels_are_refused_for_sixteen(saved: Saved, tmp_path: Path) -> None:
    options = INSTANCES["tiny"].options
    diffusers.AutoencoderTiny(**options, latent_channels=16).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"AutoencoderTiny cannot code them \(.*\); leave `tiling` off"):
        AutoencoderCodec(str(tmp_path), tiling=True)
    assert load_codec(tmp_path).latent_channels == 16


def test_tiling_is_switched_on_and_told_of(saved: Saved) -> None:
    with pytest.warns(UserWarning, match="latents solve the problem of the tiled codec") as told:
        codec = AutoencoderCodec(str(saved("kl")), tiling=True)
    assert len(told) == 1
    assert codec.model.use_tiling


@pytest.mark.filterwarnings("ignore:.*tiled codec")
@torch.no_grad()
def test_a_tile_of_the_bundled_codec_shows_more_than_an_object(images) -> None:
    """Tiles of 32 px, the default of diffusers, give latents that are further from the whole image's than 0 is."""
    image = images(1, 256, 64)
    tiled, plain = AutoencoderCodec("bundled", tiling=True), load_codec("bundled")
    assert torch.equal(tiled.encode(image), plain.encode(image))


@torch.no_grad()
def test_no_tile_has_the_whole_image_s_map_however_wide_its_rim(saved: Saved, images) -> None:
    codec = load_codec(saved("kl"))
    latent = codec.encode(images(1, 32, 256))
    tile = codec.decode(latent[..., :31])[..., :8]
    assert (tile - codec.decode(latent)[..., :8]).abs().max() > 1e-4, "23 of 32 columns are rim, yet GroupNorm sees the last"


def test_an_autoencoder_is_tried_out_once(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_codec(saved("kl"))
    monkeypatch.setattr(probing, "_pass", lambda *_: pytest.fail("tried again"))
    again = load_codec(saved("kl"), dtype="bfloat16")
    assert (again.stride, again.latent_channels, again.frames) == (first.stride, first.latent_channels, first.frames)


def test_channels_last_changes_nothing_but_the_layout(saved: Saved, images) -> None:
    codec = AutoencoderCodec(str(saved("kl")), channels_last=True)
    plain = AutoencoderCodec(str(saved("kl")))
    assert codec.model.encoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(codec.encode(images(2, 32, 32)), plain.encode(images(2, 32, 32)), rtol=0, atol=1e-5)


@torch.no_grad()
def test_channels_last_lays_out_convolutions_over_clips_too(saved: Saved, images) -> None:
    codec, plain = AutoencoderCodec(str(saved("wan")), channels_last=True), load_codec(saved("wan"))
    clip = images(5, 16, 16).transpose(0, 1)[None]
    torch.testing.assert_close(codec.decode(codec.encode(clip)), plain.decode(plain.encode(clip)))
    assert codec.model.encoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last_3d)


@torch.no_grad()
def test_a_number_format_that_torch_cannot_compute_in_is_refused_in_one_sentence(saved: Saved, images) -> None:
    codec = load_codec(saved("cosmos"), dtype="bfloat16")  # which a GPU can
    sentence = r"AutoencoderKLCosmos can compute on cpu, but got bfloat16: .*avg_pool3d.*; set another one\."
    with pytest.raises(ValueError, match=sentence):
        codec.encode(images(9, 32, 32).transpose(0, 1)[None])


@pytest.mark.filterwarnings("ignore:The autoencoder at .* is known to overflow:UserWarning")  # tested below
@pytest.mark.parametrize(("dtype", "mixed"), [("float16", torch.bfloat16), ("bfloat16", torch.float16)])
def test_mixed_precision_changes_nothing_of_a_codec_in_16_bits(saved: Saved, images, dtype: str, mixed: torch.dtype) -> None:
    codec = AutoencoderCodec(str(saved("kl_statistics")), dtype=dtype)  # type: ignore[arg-type]
    image = images(2, 32, 32)
    latent = codec.encode(image)
    decoded = codec.decode(latent)
    with torch.autocast("cpu", mixed):
        assert torch.equal(codec.encode(image), latent)
        assert torch.equal(codec.decode(latent), decoded)


@pytest.mark.filterwarnings("ignore:The autoencoder at .* is known to overflow:UserWarning")  # tested below
@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.01), ("bfloat16", 0.08)])
@pytest.mark.parametrize("name", ["kl", "tiny", "dc"])
def test_half_precision_gives_float32_latents(saved: Saved, images, name: str, dtype: str, tolerance: float) -> None:
    codec = AutoencoderCodec(str(saved(name)), dtype=dtype)  # type: ignore[arg-type]
    assert {parameter.dtype for parameter in codec.parameters()} == {getattr(torch, dtype)}
    reference = load_codec(saved(name))
    image = images(2, 32, 32)
    latent = codec.encode(image)
    assert latent.dtype == codec.decode(latent).dtype == torch.float32
    expected = reference.encode(image)
    error = (latent - expected).norm() / expected.norm()
    assert 0 < error < tolerance


def test_float16_warns_of_autoencoders_that_overflow(saved: Saved) -> None:
    with pytest.warns(UserWarning, match=r"known to overflow in float16 .*set its `dtype` to bfloat16 or float32"):
        AutoencoderCodec(str(saved("kl")), dtype="float16")


def test_weights_are_frozen_and_stay_in_evaluation_mode(saved: Saved, images) -> None:
    codec = load_codec(saved("kl"))
    codec.train()
    assert not codec.model.training
    latent = codec.encode(images(1, 32, 32)).requires_grad_()
    codec.decode(latent).square().sum().backward()
    assert latent.grad is not None
    assert latent.grad.abs().max() > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in codec.parameters())


def test_no_images_give_no_latents(saved: Saved) -> None:
    codec = load_codec(saved("kl"))
    assert codec.decode(codec.encode(torch.zeros(0, 3, 32, 64))).shape == (0, 3, 32, 64)


def test_autoencoders_of_other_channels_are_refused(saved: Saved) -> None:
    with pytest.raises(ValueError, match=r"of single RGB images at .*, but AutoencoderKL cannot code them .*channel") as caught:
        load_codec(saved("grey"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "why"), UNSUPPORTED.items())
def test_classes_that_cannot_be_driven_are_refused_with_the_reason(tmp_path: Path, kind: str, why: str) -> None:
    (tmp_path / "config.json").write_text(f'{{"_class_name": "{kind}"}}')
    with pytest.raises(ValueError, match=f"an autoencoder of images or clips in .*, but got {kind}: {why}"):
        load_codec(tmp_path)


def test_random_decoders_are_refused(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(DRIVERS, "AutoencoderKLLTXVideo")
    monkeypatch.setattr(
        ClipDriver, "decode", lambda self, latent: self.model.decode(latent, latent.new_zeros(len(latent))).sample
    )
    with pytest.raises(ValueError, match="deterministic decoder, but AutoencoderKLLTXVideo decodes one latent to different"):
        load_codec(saved("ltx_timed"))


@pytest.mark.parametrize(("smallest", "expected"), [(1, [2, 2]), (3, [2, 8, 8])])
def test_decoders_are_tried_out_on_few_pixels_where_they_decode_as_few(
    saved: Saved, monkeypatch: pytest.MonkeyPatch, smallest: int, expected: list[int]
) -> None:
    sides: list[int] = []

    def decode(self: AutoencoderCodec, latent: torch.Tensor) -> torch.Tensor:
        sides.append(latent.shape[-1])
        if latent.shape[-1] < smallest:
            raise RuntimeError("Padding size should be less than the corresponding input dimension")
        return latent

    monkeypatch.setattr(AutoencoderCodec, "_decode", decode)
    load_codec(saved("kl"), "bfloat16")
    assert sides == expected


def test_cuda_graphs_are_refused_on_the_cpu(saved: Saved, images) -> None:
    codec = AutoencoderCodec(str(saved("kl")), cuda_graphs=True)
    with pytest.raises(ValueError, match="a codec on CUDA for `cuda_graphs`, but it runs on cpu; leave `cuda_graphs` off"):
        codec.encode(images(1, 32, 32))


def test_what_is_loaded_and_cast_in_inference_mode_can_be_differentiated_through(saved: Saved, images) -> None:
    image = images(1, 32, 32)
    with torch.inference_mode():
        codec = load_codec(saved("kl"), dtype="bfloat16").float()
    problem = GradientProblem(codec, image)
    assert problem.evaluate(problem.start()).residual.abs().sum() > 0


@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-5), (torch.bfloat16, 0.05)])
def test_a_codec_computes_in_the_number_format_that_it_is_cast_to(saved: Saved, images, dtype: torch.dtype, off: float) -> None:
    image = images(1, 32, 32)
    for codec in (load_codec(saved("kl")), LinearCodec()):
        latent = codec.encode(image)
        decoded = codec.decode(latent)
        codec.to(dtype)
        for found, expected in ((codec.encode(image), latent), (codec.decode(latent), decoded)):
            assert found.dtype == torch.float32
            assert 0 < float((found - expected).norm() / expected.norm()) < off
