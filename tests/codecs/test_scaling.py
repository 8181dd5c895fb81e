"""Normalisation, against the classes' own statistics and batch normalisation as torch computes it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from decinv.codecs import LinearCodec, Scaling, load_codec
from decinv.codecs.scaling import scaling_of
from decinv.codecs.tiny import make
from decinv.problems import DecoderProblem


def latents(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def column(values: object) -> Tensor:
    return torch.as_tensor(values).view(1, -1, 1, 1, 1)


@pytest.mark.parametrize("name", ["wan", "mochi", "minimax", "ltx", "kl_statistics", "qwen"])
def test_statistics_of_each_channel(name: str) -> None:
    model = make(name)
    mean = column(model.latents_mean if name == "ltx" else model.config.latents_mean)
    std = column(model.latents_std if name == "ltx" else model.config.latents_std)
    raw = latents(2, mean.numel(), 3, 4, 4)
    scaling = scaling_of(model, mean.numel())
    expected = (raw - mean) / std * model.config.get("scaling_factor", 1.0)
    torch.testing.assert_close(scaling.apply(raw), expected)
    torch.testing.assert_close(scaling.apply(raw[:, :, 1]), expected[:, :, 1])
    assert (scaling.frames, scaling.patch) == (1, 1)


def test_statistics_of_each_channel_and_latent_frame() -> None:
    model = make("cosmos")
    mean, std = (torch.tensor(model.config[name]).view(1, 16, 16, 1, 1) for name in ("latents_mean", "latents_std"))
    raw = latents(1, 16, 3, 4, 4)
    scaling = scaling_of(model, 16)
    torch.testing.assert_close(scaling.apply(raw), (raw - mean[:, :, :3]) / std[:, :, :3])
    with pytest.raises(ValueError, match="at most 16 latent frames to normalise, but got 17"):
        scaling.apply(latents(1, 16, 17, 4, 4))


def test_batch_normalisation_of_patches() -> None:
    model = make("flux2")
    raw = latents(2, 4, 6, 10)
    scaling = scaling_of(model, 4)
    assert (scaling.frames, scaling.patch) == (1, 2)
    normalised = model.bn(functional.pixel_unshuffle(raw, 2))
    torch.testing.assert_close(scaling.apply(raw), functional.pixel_shuffle(normalised, 2))
    odd = scaling.apply(raw[..., :5, :7])
    torch.testing.assert_close(odd, scaling.apply(raw)[..., :5, :7])


@pytest.mark.parametrize(("name", "expected"), [("tiny", Scaling()), ("kl16", Scaling(1.5305, 0.0609)), ("rae", Scaling())])
def test_one_number_for_all(saved: Callable[[str], Path], name: str, expected: Scaling) -> None:
    assert load_codec(saved(name)).scaling == expected


@pytest.mark.parametrize("name", ["latents_mean", "latents_std"])
def test_half_of_the_statistics_is_none_as_in_the_pipelines(name: str) -> None:
    """Those of diffusers divide by ``scaling_factor`` alone unless a config has both."""
    model = make("kl16")
    model.register_to_config(**{name: [2.0] * 16})
    assert scaling_of(model, 16) == Scaling(1.5305, 0.0609)


def test_residuals_are_scaled_channel_by_channel(images) -> None:
    codec = LinearCodec()
    codec.scaling = Scaling((1.0, 2.0, 3.0, 4.0), (0.5, 0.0, 0.0, 0.0))
    problem = DecoderProblem(codec, images(2))
    start = problem.start()
    torch.testing.assert_close(problem.latent(start), problem.target)
    point = start + latents(*start.shape)
    residual = codec.encode(codec.decode(problem.latent(point))) - problem.target
    expected = residual * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1)
    torch.testing.assert_close(problem.evaluate(point).residual, expected)


@pytest.mark.parametrize(
    ("entries", "what"),
    [
        ({"scaling_factor": 0.0}, "finite numbers other than 0, but got 0.0"),
        ({"scaling_factor": float("nan")}, "finite numbers other than 0, but got nan"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0, 0.0, 1.0, 1.0]}, "finite numbers other than 0"),
        ({"latents_mean": [0.0] * 3, "latents_std": [1.0] * 3}, "each of 4 channels of latents, but got 3 and 3"),
    ],
)
def test_numbers_that_cannot_be_undone_are_refused(entries: dict[str, object], what: str) -> None:
    model = make("kl")
    model.register_to_config(**entries)
    with pytest.raises(ValueError, match=rf"Expected AutoencoderKL to .*{what}.*; correct its config"):
        scaling_of(model, 4)
