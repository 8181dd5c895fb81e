"""The wrapper of diffusers' autoencoders, on tiny random ones of every class that is supported."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from decinv.codecs import AutoencoderCodec, Scaling, load_codec
from decinv.memory import MIB, PeakMemory
from decinv.problems import DecoderProblem

SUPPORTED = {  # name: stride, latent channels, scaling
    "kl": (8, 4, Scaling(0.18215, 0.0)),
    "kl16": (8, 16, Scaling(1.5305, 0.0609)),
    "tiny": (8, 4, Scaling(1.0, 0.0)),
    "dc": (8, 8, Scaling(0.41407, 0.0)),
    "asymmetric": (8, 4, Scaling(0.18215, 0.0)),
    "vq": (4, 3, Scaling(0.18215, 0.0)),
}
Saved = Callable[[str], Path]


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_class_codes_images(saved: Saved, images, capfd: pytest.CaptureFixture[str], name: str) -> None:
    codec = load_codec(saved(name))
    stride, channels, scaling = SUPPORTED[name]
    assert (codec.stride, codec.latent_channels, codec.scaling) == (stride, channels, scaling)
    image = images(2, 48, 64)
    latent = codec.encode(image)
    assert latent.shape == (2, channels, 48 // stride, 64 // stride)
    assert latent.dtype == torch.float32
    decoded = codec.decode(latent)
    assert decoded.shape == image.shape
    assert torch.equal(codec.encode(image), latent)
    assert torch.equal(codec.decode(latent), decoded)
    assert capfd.readouterr() == ("", ""), "loading is silent"


@pytest.mark.parametrize("name", SUPPORTED)
def test_rows_are_independent(saved: Saved, images, name: str) -> None:
    codec = load_codec(saved(name))
    image = images(3, 32, 32)
    latent = codec.encode(image)
    torch.testing.assert_close(latent[1:2], codec.encode(image[1:2]), rtol=0, atol=1e-5)
    decoded = codec.decode(latent)
    torch.testing.assert_close(decoded[1:2], codec.decode(latent[1:2]), rtol=0, atol=1e-5)
    image[0] = torch.nan
    torch.testing.assert_close(codec.encode(image)[1:], latent[1:], rtol=0, atol=1e-5)
    assert codec.encode(image)[0].isnan().any()


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


@pytest.mark.parametrize("name", SUPPORTED)
def test_sizes_that_would_be_cropped_are_refused(saved: Saved, images, name: str) -> None:
    codec = load_codec(saved(name))
    with pytest.raises(ValueError, match=f"multiples of {codec.stride}, but got 33 x 64.*to 32 x 64, say"):
        codec.encode(images(1, 33, 64))


@pytest.mark.parametrize("name", SUPPORTED)
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


def test_tiling_is_switched_on_and_told_of(saved: Saved) -> None:
    with pytest.warns(UserWarning, match="latents solve the problem of the tiled codec") as told:
        codec = AutoencoderCodec(str(saved("kl")), tiling=True)
    assert len(told) == 1
    assert codec.model.use_tiling


@torch.no_grad()
def test_no_tile_has_the_whole_image_s_map_however_wide_its_rim(saved: Saved, images) -> None:
    codec = load_codec(saved("kl"))
    latent = codec.encode(images(1, 32, 256))
    tile = codec.decode(latent[..., :31])[..., :8]
    assert (tile - codec.decode(latent)[..., :8]).abs().max() > 1e-4, "23 of 32 columns are rim, yet GroupNorm sees the last"


@pytest.mark.parametrize("name", SUPPORTED)
def test_nothing_is_read_back_by_the_host(saved: Saved, images, name: str) -> None:
    codec = load_codec(saved(name)).to("meta")  # on which reading a value raises
    problem = DecoderProblem(codec, images(2, 32, 32).to("meta"))
    evaluation = problem.evaluate(problem.start())
    assert evaluation.residual.is_meta
    assert evaluation.residual.dtype == evaluation.mismatch.dtype == torch.float32


def test_channels_last_changes_nothing_but_the_layout(saved: Saved, images) -> None:
    codec = AutoencoderCodec(str(saved("kl")), channels_last=True)
    plain = AutoencoderCodec(str(saved("kl")))
    assert codec.model.encoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(codec.encode(images(2, 32, 32)), plain.encode(images(2, 32, 32)), rtol=0, atol=1e-5)


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


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("wan", "AutoencoderKLWan", "expected 5, got 4"),
        ("temporal", "AutoencoderKLTemporalDecoder", "num_frames"),
        ("grey", "AutoencoderKL", "channel"),
    ],
)
def test_autoencoders_of_videos_and_other_channels_are_refused(saved: Saved, name: str, kind: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"single RGB images at .*, but {kind} cannot code one .*{why}") as caught:
        load_codec(saved(name))
    assert "\n" not in str(caught.value)


def test_random_decoders_are_refused(saved: Saved) -> None:
    with pytest.raises(ValueError, match="deterministic decoder, but ConsistencyDecoderVAE decodes one latent to different"):
        load_codec(saved("consistency"))


def test_normalisation_per_channel_is_not_passed_over_in_silence(saved: Saved, tmp_path: Path) -> None:
    directory = shutil.copytree(saved("kl"), tmp_path / "playground")
    config = (directory / "config.json").read_text()
    (directory / "config.json").write_text(config.replace('"latents_mean": null', '"latents_mean": [0.1, 0.2, 0.3, 0.4]'))
    with pytest.warns(UserWarning, match="`latents_mean`, `latents_std`"):
        load_codec(directory)


def test_cuda_graphs_are_refused_on_the_cpu(saved: Saved, images) -> None:
    codec = AutoencoderCodec(str(saved("kl")), cuda_graphs=True)
    with pytest.raises(ValueError, match="a codec on CUDA for `cuda_graphs`, but it runs on cpu; leave `cuda_graphs` off"):
        codec.encode(images(1, 32, 32))
