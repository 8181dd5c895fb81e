"""Memory that does not grow with a clip, and what is coded in parts equal to what is coded whole."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from decinv.codecs import AutoencoderCodec, Codec, load_codec
from decinv.codecs.frames import as_clips
from decinv.memory import MIB, PeakMemory

Saved = Callable[[str], Path]


def clips(count: int, times: int, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, times, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def peak(work: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> float:
    """MiB that a map takes beyond its result."""
    with torch.no_grad(), PeakMemory("cpu") as meter:
        result = work(rows)
    return meter.mib - result.nbytes / MIB


def test_a_codec_of_images_codes_the_frames_of_a_clip_within_a_budget(saved: Saved) -> None:
    whole = load_codec(saved("kl"))
    single = max(peak(whole.encode, clips(1, 1)), peak(whole.decode, whole.encode(clips(1, 1))))
    codec = AutoencoderCodec(str(saved("kl")), memory_mib=2.5 * single)
    long = clips(1, 16)
    latent = whole.encode(long)
    torch.testing.assert_close(codec.encode(long), latent, rtol=0, atol=1e-5)
    torch.testing.assert_close(codec.decode(latent), whole.decode(latent), rtol=0, atol=1e-5)
    copies = 2 * long.nbytes / MIB  # parts and joined, and frames as rows
    assert peak(codec.decode, latent) <= 2.5 * single + copies
    assert peak(whole.decode, latent) > 8 * single


def test_frames_that_are_encoded_apart_are_encoded_within_a_budget(saved: Saved) -> None:
    whole = load_codec(saved("temporal"))
    single, long = peak(whole.encode, clips(1, 1)), clips(1, 12)
    codec = AutoencoderCodec(str(saved("temporal")), memory_mib=2.5 * single)
    with pytest.warns(UserWarning, match="takes .* MiB, more than the budget"):  # all frames are decoded together
        codec.decode(codec.encode(clips(1, 12)))
    torch.testing.assert_close(codec.encode(long), whole.encode(long), rtol=0, atol=1e-5)
    assert peak(codec.encode, long) <= 2.5 * single + 2 * long.nbytes / MIB
    assert peak(whole.encode, long) > 5 * single
    frames = torch.cat([whole.encode(long[:, :, time : time + 1]) for time in range(12)], dim=2)
    torch.testing.assert_close(whole.encode(long), frames, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["wan", "cogvideox", "kandinsky6"])
def test_codecs_that_carry_features_on_take_no_more_for_a_longer_clip(saved: Saved, name: str) -> None:
    codec: Codec = load_codec(saved(name))
    short, long = clips(1, 33, 16), clips(1, 65, 16)
    for work, rows in ((codec.encode, (short, long)), (codec.decode, (codec.encode(short), codec.encode(long)))):
        few, many = (peak(work, row) for row in rows)
        growth = (long.nbytes - short.nbytes) / MIB
        assert many - few <= 2.1 * growth, "parts of the result, and the result as it grows"


def test_frames_of_clips_come_back_as_clips(saved: Saved, images) -> None:
    codec = load_codec(saved("kl"))
    rows = images(6, 32, 32)
    torch.testing.assert_close(codec.encode(as_clips(rows, 3))[1, :, 0], codec.encode(rows)[3], rtol=0, atol=1e-5)
