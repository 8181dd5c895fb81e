"""Frames of clips: how many a codec takes, and how they become rows of a batch and clips again."""

from typing import NamedTuple

from torch import Tensor


class FrameRule(NamedTuple):
    """Which numbers of frames a codec of clips takes: ``first + k * step`` frames for any whole k from 0 on.

    These have ``latent_first + k * latent_step`` latent frames.

    Attributes:
        first: Least number of frames.
        step: From one number of frames to the next.
        latent_first: Latent frames of a clip of ``first`` frames.
        latent_step: Further latent frames for each ``step`` frames.
    """

    first: int = 1
    step: int = 1
    latent_first: int = 1
    latent_step: int = 1

    def latents(self, count: int) -> int:
        """Give the latent frames of a clip.

        Args:
            count: Its frames.

        Raises:
            ValueError: If the codec takes no clip of so many frames.
        """
        if count != self.nearest(count):
            raise ValueError(f"Expected {self} frames, but got {count}; take {self.nearest(count)}, say.")
        return self.latent_first + (count - self.first) // self.step * self.latent_step

    def frames(self, count: int) -> int:
        """Give the frames of a clip.

        Args:
            count: Its latent frames.

        Raises:
            ValueError: If no clip has so many latent frames.
        """
        steps, rest = divmod(count - self.latent_first, self.latent_step)
        if steps < 0 or rest:
            raise ValueError(f"Expected {_sequence(self.latent_first, self.latent_step)} latent frames, but got {count}.")
        return self.first + steps * self.step

    def below(self, count: int) -> int:
        """Give the largest number of frames that the codec takes and that is not above ``count``; 0 where there is none."""
        return count - (count - self.first) % self.step if count >= self.first else 0

    def above(self, count: int) -> int:
        """Give the least number of frames that the codec takes and that is not below ``count``."""
        return max(self.first, count + (self.first - count) % self.step)

    def nearest(self, count: int) -> int:
        """Give the number of frames nearest to ``count`` that the codec takes, the smaller one of two."""
        return min(self.below(count) or self.first, self.above(count), key=lambda fitting: abs(fitting - count))

    def __str__(self) -> str:
        """Name the numbers of frames in words, such as ``1, 5, 9, ...``."""
        return _sequence(self.first, self.step)


def _sequence(first: int, step: int) -> str:
    return f"at least {first}" if step == 1 else f"{first}, {first + step}, {first + 2 * step}, ..."


def as_frames(clips: Tensor) -> Tensor:
    """Give the frames of clips as rows: ``(B, C, T, H, W)`` to ``(B T, C, H, W)``, clip after clip."""
    return clips.transpose(1, 2).flatten(0, 1)


def as_clips(frames: Tensor, count: int) -> Tensor:
    """Join rows to clips of ``count`` frames, at least 1: ``(B T, C, H, W)`` to ``(B, C, T, H, W)``."""
    return frames.view(len(frames) // count, count, *frames.shape[1:]).transpose(1, 2)
