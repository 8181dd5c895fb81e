"""Every autoencoder class that is supported, as a tiny random one that diffusers saved."""

import contextlib
import importlib.util
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import diffusers
import pytest
import torch
from torch import Tensor

from decinv.codecs import AutoencoderCodec, load_codec
from decinv.codecs.table import TABLE, classes, heading, missing, row
from decinv.codecs.tiny import INSTANCES, make
from decinv.dtypes import Dtype
from decinv.problems import DecoderProblem

NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not hasattr(diffusers, instance.kind)
            or (instance.kind == "AutoencoderRAE" and importlib.util.find_spec("transformers") is None),
            reason="the class is not there",
        ),
    )
    for name, instance in INSTANCES.items()
]
STILLS = (
    "hunyuan_image",
    "hunyuan_refiner",
    "kl",
    "kl16",
    "kl_statistics",
    "tiny",
    "dc",
    "asymmetric",
    "vq",
    "consistency",
    "flux2",
    "kvae",
    "qwen",
    "qwen21",
    "rae",
)
CLIPS = [param for param in NAMES if param.values[0] not in STILLS and param.values[0] != "vidtok_whole"]  # which is slow
Loader = Callable[[str], AutoencoderCodec]


@pytest.fixture(scope="session")
def codec(saved: Callable[[str], Path]) -> Loader:
    @cache
    def load(name: str) -> AutoencoderCodec:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return load_codec(saved(name))

    return load


def batch(codec: AutoencoderCodec, count: int = 2, steps: int = 1, cells: int = 2) -> Tensor:
    """Images, or clips of the codec's rule, of one size that fits."""
    side = codec._driver.sizes[0] if len(codec._driver.sizes) == 1 else cells * codec.stride
    times = () if codec.frames is None else (codec.frames.first + steps * codec.frames.step,)
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, *times, side, side, generator=generator) * 2 - 1


def test_the_table_has_every_class_of_the_installed_diffusers() -> None:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    if f"diffusers {diffusers.__version__} " not in lines[2]:
        pytest.skip("the table was written with another diffusers")
    assert "\n".join(lines).startswith(heading())
    supported = {instance.kind for instance in INSTANCES.values()}
    for kind in classes():
        assert any(line.startswith((f"| {kind} |", f"| {kind} (")) for line in lines), kind
        assert (kind in supported) != (missing(kind) in lines), kind
        assert "has not been tried" not in missing(kind) or kind in supported, kind


@pytest.mark.parametrize("name", NAMES)
def test_every_class_is_driven(codec: Loader, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    one = codec(name)
    image = batch(one)
    latent = one.encode(image)
    times = () if one.frames is None else (one.frames.latents(image.shape[2]),)
    assert latent.shape == (2, one.latent_channels, *times, *(side // one.stride for side in image.shape[-2:]))
    decoded = one.decode(latent)
    assert decoded.shape == image.shape
    assert latent.dtype == decoded.dtype == torch.float32
    assert latent.isfinite().all()
    assert decoded.std() > 0
    assert torch.equal(one.encode(image), latent)
    assert torch.equal(one.decode(latent), decoded)
    assert capfd.readouterr() == ("", ""), "loading and coding are silent"
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    if f"diffusers {diffusers.__version__} " in lines[2]:
        assert row(name, one) in lines, "write it anew: python -m decinv.codecs.table"


@pytest.mark.parametrize("name", [param for param in NAMES if param.values[0] != "vidtok_whole"])
def test_rows_are_independent(codec: Loader, name: str) -> None:
    one = codec(name)
    image = batch(one)
    latent = one.encode(image)
    torch.testing.assert_close(latent[1:], one.encode(image[1:]), rtol=1e-4, atol=1e-5)
    decoded = one.decode(latent)
    torch.testing.assert_close(decoded[1:], one.decode(latent[1:]), rtol=1e-4, atol=1e-4)
    image[0], latent[0] = torch.nan, torch.nan
    assert one.encode(image)[1].isfinite().all()
    assert one.decode(latent)[1].isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_scaling_is_undone_and_is_linear(codec: Loader, name: str) -> None:
    one = codec(name)
    latent = one.encode(batch(one))
    scaled = one.scaling.apply(latent)
    assert scaled.shape == latent.shape
    torch.testing.assert_close(one.scaling.invert(scaled), latent, rtol=1e-5, atol=1e-5)
    difference = one.scaling.apply(latent + 1) - scaled
    torch.testing.assert_close(one.scaling.scale(torch.ones_like(latent)), difference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_what_would_be_cropped_in_silence_is_refused(codec: Loader, name: str) -> None:
    one = codec(name)
    image = batch(one)
    with pytest.raises(ValueError, match=rf"multiples of {one.stride}, but got \d+ x {image.shape[-1]}, which the codec would"):
        one.encode(image[..., 1:, :])
    if one.frames is not None and one.frames.step > 1:
        with pytest.raises(ValueError, match=r"Expected \d+, \d+, \d+, \.\.\. frames, but got \d+; take \d+, say"):
            one.encode(image[:, :, 1:])
    if one.frames is not None and one.frames.latent_step > 1:
        with pytest.raises(ValueError, match=r"latent frames, but got \d+\."):
            one.decode(one.encode(image)[:, :, 1:])


@pytest.mark.parametrize("name", CLIPS)
def test_the_rule_of_frames_holds_further_on(codec: Loader, name: str) -> None:
    one = codec(name)
    assert one.frames is not None
    clip = batch(one, 1, 2)
    latent = one.encode(clip)
    assert latent.shape[2] == one.frames.latents(clip.shape[2])
    assert one.decode(latent).shape == clip.shape


KEEPING = ("wan", "cogvideox", "magvit", "vidtok", "kvae_video", "kandinsky6", "ltx_timed", "allegro")
"""Which keep something of a clip."""


@pytest.mark.parametrize("name", [param for param in NAMES if param.values[0] in KEEPING])
def test_results_do_not_depend_on_what_was_coded_before(codec: Loader, name: str) -> None:
    one = codec(name)
    clip = batch(one)
    latent = one.encode(clip)
    decoded = one.decode(latent)
    one.decode(one.encode(batch(one, 1, 2)))
    for wrong in (clip[:, :, :-1], clip[..., :-1, 1:]):  # some fail half-way through
        with contextlib.suppress(Exception), torch.no_grad():
            one._decode(one._encode(wrong))
    assert torch.equal(one.encode(clip), latent)
    with contextlib.suppress(Exception), torch.no_grad():
        one._decode(latent[:, :, :-1, :-1])
    assert torch.equal(one.decode(latent), decoded)


@pytest.mark.parametrize("name", ["kl", "tiny", "dc", "vq", "flux2", "qwen", "wan", "ltx_timed"])
def test_nothing_is_read_back_by_the_host(saved: Callable[[str], Path], name: str) -> None:
    path = str(saved(name))
    with torch.device("meta"):
        one = AutoencoderCodec(path)
    problem = DecoderProblem(one, batch(one).to("meta"))
    evaluation = problem.evaluate(problem.start())  # reading a value raises
    assert evaluation.residual.is_meta
    assert evaluation.residual.dtype == evaluation.mismatch.dtype == torch.float32


def test_a_class_that_reads_values_back_cannot_be_made_without_weights(saved: Callable[[str], Path]) -> None:
    path = str(saved("consistency"))
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match="works without content, as planning asks for, but got ConsistencyDecoderVAE"),
    ):
        AutoencoderCodec(path)


@pytest.mark.filterwarnings("ignore:.*known to overflow in float16")
@pytest.mark.parametrize(
    "name", [param for param in NAMES if param.values[0] in STILLS and param.values[0] != "vq"]
)  # which jumps
@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.02), ("bfloat16", 0.15)])
def test_images_are_coded_in_16_bits(
    codec: Loader, saved: Callable[[str], Path], name: str, dtype: Dtype, tolerance: float
) -> None:
    exact, short = codec(name), load_codec(saved(name), dtype)
    with torch.no_grad():
        image = batch(exact, 1, cells=4)  # one, since few processors are fast at this
        latent = exact.encode(image)
        for found, expected in ((short.encode(image), latent), (short.decode(latent), exact.decode(latent))):
            assert float((found - expected).norm() / expected.norm()) < tolerance


def test_clips_that_would_lose_frames_are_refused_by_a_codec_of_segments(saved: Callable[[str], Path]) -> None:
    """Which they are, is asked of the class itself, which loses frames of these only."""
    model, path = make("kvae_video").to("meta"), str(saved("kvae_video"))
    with torch.device("meta"):
        one = AutoencoderCodec(path)
    for count in (17, 21, 25, 33, 37):
        clip = torch.empty(1, 3, count, 16, 16, device="meta")
        if model.decode(model.encode(clip).latent_dist.mode()).sample.shape == clip.shape:
            assert one.decode(one.encode(clip)).shape == clip.shape
        else:
            with pytest.raises(ValueError, match=rf"of {count}, of which it loses some; take {count - 4} or {count + 4}\."):
                one.encode(clip)
