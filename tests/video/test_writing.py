"""What is written comes back: bit by bit without loss, and as a file for every player."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from decinv.images.eight_bit import to_picture
from decinv.video import LosslessVideo, PreviewVideo, read_clip, scan

PICTURES = np.random.default_rng(0).integers(0, 256, (7, 15, 21, 3), dtype=np.uint8)
TIMES = [Fraction(milliseconds, 1000) for milliseconds in (0, 33, 100, 101, 400, 404, 1000)]


def test_lossless_video_gives_identical_pixels_and_times(tmp_path):
    with LosslessVideo(tmp_path / "sub" / "a.part") as video:
        for picture, seconds in zip(PICTURES, TIMES, strict=True):
            video.add(picture, seconds)
    clip = read_clip(tmp_path / "sub" / "a.part")
    assert np.array_equal(np.stack([to_picture(frame) for frame in clip.unbind(1)]), PICTURES)
    assert scan(tmp_path / "sub" / "a.part").times == tuple(TIMES)


def test_preview_is_what_players_take(tmp_path):
    smooth = np.repeat(np.linspace(0, 255, 21, dtype=np.uint8)[None, None, :, None], 15, axis=1).repeat(3, axis=3)
    with PreviewVideo(tmp_path / "a.part") as video:
        for seconds in TIMES:
            video.add(smooth[0], seconds)
    with av.open(str(tmp_path / "a.part")) as file:
        stream = file.streams.video[0]
        assert "mp4" in file.format.name
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.height, stream.width) == (16, 22)
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
    assert len(decoded) == 7
    assert np.abs(decoded[3][:15, :21].astype(int) - smooth[0]).mean() < 4
    assert scan(tmp_path / "a.part").times == pytest.approx(TIMES, abs=1e-4)
    assert (tmp_path / "a.part").read_bytes().index(b"moov") < (tmp_path / "a.part").read_bytes().index(b"mdat")


def test_pictures_of_8_bits():
    image = torch.tensor([-1.0, -0.999, 0.0, 1.0, 2.0, torch.nan]).expand(3, 2, 6)
    assert to_picture(image)[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0]
