"""Clips whose true latents are known: moving scenes, encoded, perturbed, decoded and rounded to 8 bits."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from decinv.batch import Batch
from decinv.codecs.base import Codec
from decinv.data.buckets import Sample, gather
from decinv.data.clips import ClipData, Unit
from decinv.data.generated import decode_rounded, perturbed_latent
from decinv.data.moving import MovingScene
from decinv.ranges import refuse_below
from decinv.runs import Input
from decinv.video.clips import Clip, Moment

FPS = 8
"""Frames a second of generated clips."""

scene = lru_cache(maxsize=2)(MovingScene)
"""The scenes that were drawn last."""


def draw_frame_latent(
    codec: Codec, index: int, frame: int, size: int = 64, seed: int = 1000, perturbation: float = 0.1
) -> Tensor:
    """Draw the raw latent ``z = E(x) + perturbation * std(E(x)) * n`` of one frame; see ``decinv.data.generated.draw_latent``.

    Args:
        codec: A codec of images; its device does the work.
        index: Number of the clip in the infinite sequence of its seed, at least 0.
        frame: Number of the frame, at least 0; the noise of each is its own.
        size: Height and width in pixels, at least 8 and a multiple of the codec's stride.
        seed: Seed of the sequence, at least 0.
        perturbation: Size of the noise relative to the latent's standard deviation, at least 0.

    Returns:
        A raw latent ``(C, h, w)``, float32, on the CPU.
    """
    rng = np.random.default_rng([seed, index, frame, 3])
    return perturbed_latent(codec, scene(index, size, seed).frame(frame), rng, perturbation)


def draw_clip_latent(
    codec: Codec, index: int, length: int, size: int = 64, seed: int = 1000, perturbation: float = 0.1
) -> Tensor:
    """Draw the raw latent ``(C, t, h, w)`` of a clip of ``length`` frames as a whole, by the same formula."""
    frames = torch.stack([scene(index, size, seed).frame(number) for number in range(length)], dim=1)
    return perturbed_latent(codec, frames, np.random.default_rng([seed, index, 3]), perturbation)


def generate_clip(
    codec: Codec, index: int = 0, length: int = 16, size: int = 64, seed: int = 1000, perturbation: float = 0.1
) -> Batch:
    """Make the frames of one clip whose true latents are known, as the rows of one chunk; see ``GeneratedClips``."""
    data = GeneratedClips(index + 1, length, size, length, seed, perturbation)
    loaded = (data.load(item, codec) for item in data.list_inputs()[index * length :])
    (batch,) = gather(loaded, length, codec.stride, max_pixels=length * size * size)
    return batch


class GeneratedClips(ClipData):
    """Clips of procedural moving scenes with known true latents, so that the error of an inversion is known."""

    def __init__(
        self,
        count: int = 4,
        clip_length: int = 16,
        size: int = 64,
        batch_size: int = 8,
        seed: int = 1000,
        perturbation: float = 0.1,
        unit: Unit = "frame",
        shard: str = "0/1",
        block: int | None = None,
    ) -> None:
        """Say which clips.

        Args:
            count: Number of clips, at least 0.
            clip_length: Frames of a clip, at least 1.
            size: Height and width of a frame in pixels, at least 8 and a multiple of the codec's stride.
            batch_size: Frames (or clips, see `unit`) that are inverted together, at least 1.
            seed: Seed of the scenes and the noise, at least 0.
            perturbation: Size of the noise that is added to latents of the scenes, relative to their standard deviation in the
                diffusion model's space, at least 0.
            unit: What is inverted as one sample: 'frame' for codecs of images, 'clip' for codecs that compress time.
            shard: Part of the frames that this job inverts, as i/n with 0 <= i < n, for n independent jobs with one --out.
            block: Consecutive frames (or clips) that one process inverts, at least 1; null to choose by their number.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(batch_size, unit, shard, block, workers=0)
        refuse_below(0, count=count, seed=seed, perturbation=perturbation)
        refuse_below(1, clip_length=clip_length)
        refuse_below(8, size=size)
        self.count = count
        self.clip_length = clip_length
        self.size = size
        self.seed = seed
        self.perturbation = perturbation

    def list_inputs(self) -> Sequence[Input]:
        """List the frames, or the clips."""
        return tuple(self._inputs_of_all())

    def _inputs_of_all(self) -> Iterator[Input]:
        moments = tuple(Moment(frame, Fraction(frame, FPS)) for frame in range(self.clip_length))
        number = 0
        for index in range(self.count):
            for item in self.inputs_of(Clip(f"generated-{index:05d}", moments), "", number):
                yield item
                number += 1

    def image_size(self, item: Input, codec: Codec) -> tuple[int, int] | None:
        """Give the configured size."""
        return self.size, self.size

    def load_frame(self, item: Input, moment: Moment, codec: Codec) -> Sample:
        """Draw and decode the latent of one frame by itself."""
        index = item.number // self.clip_length
        latent = draw_frame_latent(codec, index, moment.frame, self.size, self.seed, self.perturbation)
        return self._sample(codec, item, latent)

    def load_clip(self, item: Input, moments: tuple[Moment, ...], codec: Codec) -> Sample:
        """Draw and decode the latent of a clip as a whole."""
        latent = draw_clip_latent(codec, item.number, len(moments), self.size, self.seed, self.perturbation)
        return self._sample(codec, item, latent)

    def _sample(self, codec: Codec, item: Input, latent: Tensor) -> Sample:
        return Sample(item.name, decode_rounded(codec, latent[None])[0], (self.size, self.size), latent)
