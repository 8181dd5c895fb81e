"""Numbers of frames, by hand; and clips through a codec of images, against its frames one by one."""

import pytest
import torch

from decinv.codecs import Codec, FrameRule, LinearCodec
from decinv.codecs.frames import as_clips, as_frames

WAN = FrameRule(1, 4)
COG = FrameRule(1, 8, 1, 2)
PAIRS = FrameRule(2, 2)


class Sums(Codec):
    """A codec of clips: a latent frame is the mean of two frames, a pixel of each is a latent value."""

    def __init__(self) -> None:
        super().__init__()
        self.stride, self.latent_channels, self.frames = 1, 3, PAIRS
        self.register_buffer("place", torch.zeros(()))
        self.freeze()

    def _encode(self, image: torch.Tensor) -> torch.Tensor:
        return image.unflatten(2, (-1, 2)).mean(3)

    def _decode(self, latent: torch.Tensor) -> torch.Tensor:
        return latent.repeat_interleave(2, 2)


@pytest.mark.parametrize(
    ("rule", "frames", "latents"), [(WAN, 1, 1), (WAN, 17, 5), (COG, 1, 1), (COG, 49, 13), (PAIRS, 6, 3), (FrameRule(), 7, 7)]
)
def test_latent_frames_are_counted_both_ways(rule: FrameRule, frames: int, latents: int) -> None:
    assert rule.latents(frames) == latents
    assert rule.frames(latents) == frames


@pytest.mark.parametrize(
    ("rule", "count", "below", "above", "nearest"),
    [(WAN, 7, 5, 9, 5), (WAN, 8, 5, 9, 9), (WAN, 9, 9, 9, 9), (WAN, 0, 0, 1, 1), (PAIRS, 1, 0, 2, 2), (COG, 16, 9, 17, 17)],
)
def test_the_numbers_around_one_are_found(rule: FrameRule, count: int, below: int, above: int, nearest: int) -> None:
    assert (rule.below(count), rule.above(count), rule.nearest(count)) == (below, above, nearest)


def test_other_numbers_are_refused_with_one_that_would_do() -> None:
    with pytest.raises(ValueError, match=r"Expected 1, 5, 9, \.\.\. frames, but got 6; take 5, say\."):
        WAN.latents(6)
    with pytest.raises(ValueError, match=r"Expected at least 1 frames, but got 0; take 1, say\."):
        FrameRule().latents(0)
    with pytest.raises(ValueError, match=r"Expected 1, 3, 5, \.\.\. latent frames, but got 2\."):
        COG.frames(2)
    with pytest.raises(ValueError, match=r"latent frames, but got 0\."):
        WAN.frames(0)


def test_frames_are_rows_clip_after_clip() -> None:
    clips = torch.arange(2 * 3 * 4 * 5 * 6).view(2, 3, 4, 5, 6)
    assert torch.equal(as_frames(clips)[5], clips[1, :, 1])
    assert torch.equal(as_clips(as_frames(clips), 4), clips)


def test_a_codec_of_images_codes_clips_frame_by_frame(images) -> None:
    codec = LinearCodec()
    clips = as_clips(images(6, 8, 12), 3)
    latent = codec.encode(clips)
    assert latent.shape == (2, 4, 3, 2, 3)
    torch.testing.assert_close(latent[1, :, 2], codec.encode(clips[1:, :, 2])[0])
    torch.testing.assert_close(codec.decode(latent)[0, :, 1], codec.decode(latent[:1, :, 1])[0])
    assert codec.encode(clips[:0]).shape == (0, 4, 3, 2, 3)
    with pytest.raises(ValueError, match="at least 1 frames, but got 0"):
        codec.encode(clips[:, :, :0])


def test_a_codec_of_clips_takes_nothing_else(images) -> None:
    codec = Sums()
    clips = as_clips(images(8), 4)
    assert codec.encode(clips).shape == (2, 3, 2, 16, 16)
    assert codec.picture(codec.encode(clips)).shape == clips.shape
    assert codec.decode(codec.encode(clips[:0])).shape == (0, 3, 4, 16, 16)
    with pytest.raises(ValueError, match=r"images of clips with shape \(B, 3, T, H, W\), but got \(8, 3, 16, 16\)"):
        codec.encode(images(8))
    with pytest.raises(ValueError, match=r"latents of clips with shape \(B, 3, t, h, w\), but got \(8, 3, 16, 16\)"):
        codec.decode(images(8))
    with pytest.raises(ValueError, match=r"Expected 2, 4, 6, \.\.\. frames, but got 3; take 2, say"):
        codec.encode(clips[:, :, :3])
