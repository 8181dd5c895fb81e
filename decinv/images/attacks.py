"""Attacks on watermarks by name, as YAML and the command line choose them, at the strengths of arXiv 2305.20030.

Each applies a distortion of ``decinv.images.distortions``. What is random depends on the attack's seed and the image's number
in the run, never on its batch mates.

The paper's released code rotates to the nearest pixel, where these interpolate bilinearly; enlarges crops bilinearly, where
these do bicubically; and adds noise modulo 256, so that black may become white, where these clamp. Its blur is Pillow's, three
box filters in place of the Gaussian. JPEG is the same, and brightness to a grey level.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from decinv.images.distortions import blur, crop_at_random, jpeg, noise, resize, rotate
from decinv.images.jitter import jitter
from decinv.ranges import refuse_below, refuse_not_above


class Attack(ABC):
    """What happens to images between their making and the detection of their mark."""

    @abstractmethod
    def __call__(self, image: Tensor, numbers: Sequence[int]) -> Tensor:
        """Attack images.

        Args:
            image: Images ``(B, 3, H, W)`` in [-1, 1].
            numbers: Number of each image in the run, ``B`` of them.

        Returns:
            Images of the same shape, float32, of 256 grey levels.
        """


@dataclass(frozen=True)
class Jpeg(Attack):
    """Save as JPEG and read again.

    Args:
        quality: Quality from 1, the strongest, to 100.
    """

    quality: int = 25

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ValueError: If an argument is out of range.
        """
        if not 1 <= self.quality <= 100:
            raise ValueError(f"Expected `quality` in [1, 100], but got {self.quality}.")

    def __call__(self, image: Tensor, numbers: Sequence[int]) -> Tensor:
        """Attack images."""
        return jpeg(image, self.quality)


@dataclass(frozen=True)
class Rotation(Attack):
    """Rotate about the centre; corners are lost, and what comes in is black.

    Args:
        degrees: The angle, counter-clockwise, finite.
    """

    degrees: float = 75.0

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ValueError: If an argument is out of range.
        """
        if not math.isfinite(self.degrees):
            raise ValueError(f"Expected `degrees` to be finite, but got {self.degrees}.")

    def __call__(self, image: Tensor, numbers: Sequence[int]) -> Tensor:
        """Attack images."""
        return rotate(image, self.degrees)


@dataclass(frozen=True)
class CropAndScale(Attack):
    """Cut out a rectangle at random and enlarge it to the size of the whole.

    Args:
        area: Part of the area that is kept, in (0, 1].
        ratio: Part of the width over part of the height that is kept, from ``area`` to ``1 / area``; 1 keeps the image's own.
            ``None`` is ``area``, which keeps the whole height and as much of the width, as in the paper's released code.
        seed: Seed of the rectangle's place, at least 0.
    """

    area: float = 0.75
    ratio: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ValueError: If an argument is out of range.
        """
        if not 0 < self.area <= 1:
            raise ValueError(f"Expected `area` in (0, 1], but got {self.area}.")
        if self.ratio is not None and not self.area <= self.ratio <= 1 / self.area:
            raise ValueError(f"Expected `ratio` from `area`, {self.area}, to its inverse, but got {self.ratio}.")
        refuse_below(0, seed=self.seed)

    def __call__(self, image: Tensor, numbers: Sequence[int]) -> Tensor:
        """Attack images."""
        return crop_at_random(image, self.area, self.area if self.ratio is None else self.ratio, self.seed, numbers)


@dataclass(frozen=True)
class GaussianBlur(Attack):
    """Blur.

    Args:
        std: Standard deviation of the Gaussian in pixels, at least 0; the default is for images of 512 px.
    """

    std: float = 4.0

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(0, std=self.std)

    def __call__(self, image: Tensor, numbers: Sequence[int]) -> Tensor:
        """Attack images."""
        return blur(image, self.std)


@dataclass(frozen=True)
class GaussianNoise(Attack):
    """Add noise.

    Args:
        std: Standard deviation where white is 1 and black is 0, at least 0.
        seed: Seed of the noise, at least 0.
    """

    std: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(0, std=self.std, seed=self.seed)

    def __call__(self, image: Tensor, numbers: Sequence[int]) -> Tensor:
        """Attack images."""
        return noise(image, self.std, self.seed, numbers)


@dataclass(frozen=True)
class Jitter(Attack):
    """Multiply brightness, contrast and saturation by random factors from [max(0, 1 - strength), 1 + strength].

    Args:
        brightness: Strength, at least 0.
        contrast: Strength, at least 0.
        saturation: Strength, at least 0.
        seed: Seed of the factors, at least 0.
    """

    brightness: float = 6.0
    contrast: float = 0.0
    saturation: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(0, brightness=self.brightness, contrast=self.contrast, saturation=self.saturation, seed=self.seed)

    def __call__(self, image: Tensor, numbers: Sequence[int]) -> Tensor:
        """Attack images."""
        return jitter(image, self.brightness, self.contrast, self.saturation, self.seed, numbers)


@dataclass(frozen=True)
class Resize(Attack):
    """Resize and resize back.

    Args:
        factor: Factor of both sides, above 0.
    """

    factor: float = 0.5

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_not_above(0, factor=self.factor)

    def __call__(self, image: Tensor, numbers: Sequence[int]) -> Tensor:
        """Attack images."""
        return resize(image, self.factor)


@dataclass(frozen=True)
class InTurn(Attack):
    """Apply attacks one after another; none changes nothing.

    Attacks of one class draw the same at random unless their seeds differ.

    Args:
        attacks: The attacks, the first one first.
    """

    attacks: Sequence[Attack] = ()

    def __call__(self, image: Tensor, numbers: Sequence[int]) -> Tensor:
        """Attack images."""
        for attack in self.attacks:
            image = attack(image, numbers)
        return image
