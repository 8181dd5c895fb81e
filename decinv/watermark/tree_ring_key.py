"""Keys of tree-ring watermarks: what is written into the noise, where, and the file that holds it."""

import hashlib
import secrets
import warnings
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from decinv.ranges import refuse_below
from decinv.watermark.disc import Mask, radii, rings
from decinv.watermark.key_file import Shape, load_key, refuse_impossible_shape, refuse_other_shape, write_key

FORMAT = "decinv tree-ring key 1"


class Pattern(Enum):
    """What the coefficients of a key are; all but those of ``ZEROS`` have mean square 1, as those of white noise have.

    Attributes:
        RINGS: One real normal number for each ring, so that rotating the latent keeps the key; complex numbers, as in arXiv
            2305.20030, have no mirror image within a ring that is their conjugate.
        RANDOM: The coefficients of white noise.
        ZEROS: Zero. It needs no secret, and hides the least.
        GIVEN: Coefficients that the caller chose.
    """

    RINGS = "rings"
    RANDOM = "random"
    ZEROS = "zeros"
    GIVEN = "given"


DECOYS = 0xDEC0
"""What sets the seeds of decoys apart from those of keys."""

FEWEST_RINGS = 3
"""Rings of a key that is compared with decoys."""


@dataclass(frozen=True, eq=False)
class TreeRingKey:
    """Fourier coefficients inside a disc of one channel of the initial noise (Wen et al., arXiv 2305.20030).

    Coefficients are those of ``torch.fft.fft2`` with ``norm="ortho"``: a key's strength does not depend on the size.

    Attributes:
        shape: Shape (C, H, W) of the latents that carry it.
        channel: The channel that it is in, from 0 to C - 1.
        radius: Radius of the disc in cycles per side, at least 0; above half the side it covers all but the corners.
        values: The coefficients ``(n,)`` inside the disc, complex64, in the order of ``values[disc]``.
        pattern: What they are.
        mask: Where the disc lies.

    Raises:
        ValueError: If shape, channel, radius or the number of coefficients is out of range, or if the coefficients of a
            centred mask lack Hermitian symmetry.
    """

    shape: tuple[int, int, int]
    channel: int
    radius: int
    values: Tensor = field(repr=False)
    pattern: Pattern = Pattern.GIVEN
    mask: Mask = Mask.CENTRED

    def __post_init__(self) -> None:
        """Check the key; warn if real latents cannot carry it."""
        refuse_impossible_shape(self.shape)
        if not 0 <= self.channel < self.shape[0]:
            raise ValueError(f"Expected `channel` from 0 to {self.shape[0] - 1}, but got {self.channel}.")
        refuse_below(0, radius=self.radius)
        count = int(self.disc.sum())
        if self.values.shape != (count,):
            raise ValueError(f"Expected {count} coefficients, but got {tuple(self.values.shape)}.")
        if self.mask is Mask.PUBLISHED and self.shape[1] % 2 == 0:
            warnings.warn(
                "The published mask is not symmetric about the zero frequency where the height is even: no real latent carries "
                "its key, and noise that is recovered exactly may be closer to another key. Use it for comparison only.",
                stacklevel=3,
            )
        elif not torch.allclose(self._mirrored(), self.values.conj(), atol=1e-4):
            raise ValueError("Expected coefficients with K(-k) = conj(K(k)), which a real latent can carry, but got others.")

    @classmethod
    def make(
        cls,
        shape: tuple[int, int, int],
        channel: int = 3,
        radius: int = 10,
        pattern: Pattern = Pattern.RINGS,
        seed: int | None = None,
        mask: Mask = Mask.CENTRED,
    ) -> "TreeRingKey":
        """Draw a key.

        Args:
            shape: Shape (C, H, W) of the latents.
            channel: The channel to mark; 3 is that of the paper.
            radius: Radius of the disc in cycles per side; 10 is that of the paper, for latents of 64 x 64.
            pattern: What to draw.
            seed: The secret, at least 0: whoever knows it can make the key. All of its bits count, up to 128; by default
                128 bits of the operating system. Save the key rather than the seed: numpy may draw otherwise one day.
            mask: Where the disc lies.

        Raises:
            ValueError: If a number is out of range, or if ``pattern`` is ``GIVEN``.
        """
        if pattern is Pattern.GIVEN:
            raise ValueError("Expected `pattern` to be one that can be drawn, but got GIVEN; give `values` instead.")
        refuse_impossible_shape(shape)
        refuse_below(0, seed=seed)
        rng = np.random.default_rng(secrets.randbits(128) if seed is None else seed)
        return cls(shape, channel, radius, draw(pattern, shape, radius, mask, 1, rng)[0], pattern, mask)

    @cached_property
    def disc(self) -> Tensor:
        """Which coefficients ``(H, W)`` of the channel the key holds."""
        return radii(*self.shape[1:], self.mask) <= self.radius

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell this key from others and do not give it away."""
        digest = hashlib.sha256(f"{FORMAT} {self.shape} {self.channel} {self.radius} {self.mask.value}".encode())
        digest.update(torch.view_as_real(self.values).numpy().astype("<f4").tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def directed(self) -> bool:
        """Whether noise can correlate with the key: at least two coefficients, not all of them 0."""
        return self.values.numel() > 1 and bool(self.values.any())

    def decoys(self, count: int, seed: int = 0) -> Tensor:
        """Draw the coefficients ``(count, n)`` of other keys of the same pattern.

        None is that which ``make`` draws of a seed of up to 128 bits.

        Raises:
            ValueError: If there are no decoys of this key.
        """
        self.check_decoys()
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(DECOYS,)))
        return draw(self.pattern, self.shape, self.radius, self.mask, count, rng)

    def check_decoys(self) -> None:
        """Refuse keys that others of the same pattern say nothing of.

        Raises:
            ValueError: If the key's pattern is not random, ``ZEROS`` or ``GIVEN``, or is ``RINGS`` and has fewer rings than 3:
                keys of so few numbers are too much alike.
        """
        if self.pattern not in (Pattern.RINGS, Pattern.RANDOM):
            raise ValueError(
                f"Expected a key that was drawn at random for decoys, but {self.fingerprint} is of the pattern "
                f"{self.pattern.name}; give decoys: 0."
            )
        count = len(set(rings(radii(*self.shape[1:], self.mask)[self.disc]).tolist()))
        if self.pattern is Pattern.RINGS and count < FEWEST_RINGS:
            raise ValueError(
                f"Expected a key of at least {FEWEST_RINGS} rings for decoys, but {self.fingerprint} has {count}; "
                "give decoys: 0, or a key of a larger radius."
            )

    def check(self, latent: Tensor) -> None:
        """Refuse latents of another shape.

        Raises:
            ValueError: If ``latent`` is not ``(B, C, H, W)`` with the key's shape.
        """
        refuse_other_shape(latent, self.shape, self.fingerprint)

    def save(self, path: str | Path) -> None:
        """Write the key as safetensors, whole or not at all. Keep the file secret: it is all that removing a mark needs.

        Raises:
            FileExistsError: If there is a file already.
            OSError: If none can be written.
        """
        settings = {
            "shape": ",".join(map(str, self.shape)),
            "channel": str(self.channel),
            "radius": str(self.radius),
            "pattern": self.pattern.name,
            "mask": self.mask.name,
        }
        write_key(Path(path), FORMAT, self.fingerprint, settings, {"values": torch.view_as_real(self.values)})

    @classmethod
    def load(cls, path: str | Path) -> "TreeRingKey":
        """Read a key.

        Raises:
            FileNotFoundError: If there is no file.
            ValueError: If it is no such key, or not the one that was written.
        """

        def make(shape: Shape, settings: dict[str, str], tensors: dict[str, Tensor]) -> "TreeRingKey":
            values = torch.view_as_complex(tensors["values"])
            numbers = int(settings["channel"]), int(settings["radius"])
            return cls(shape, *numbers, values, Pattern[settings["pattern"]], Mask[settings["mask"]])

        return load_key(Path(path), FORMAT, make)

    def _mirrored(self) -> Tensor:
        """Give K(-k) for each k of the disc."""
        plane = torch.zeros(self.shape[1:], dtype=torch.complex64)
        plane[self.disc] = self.values
        return plane.flip(0, 1).roll((1, 1), (0, 1))[self.disc]


def draw(
    pattern: Pattern, shape: tuple[int, int, int], radius: int, mask: Mask, count: int, rng: np.random.Generator
) -> Tensor:
    """Draw the coefficients ``(count, n)`` of keys, complex64; see ``Pattern``."""
    distance = radii(*shape[1:], mask)
    disc = distance <= radius
    values: np.ndarray
    if pattern is Pattern.RINGS:
        values = rng.standard_normal((count, max(radius, 1)))[:, rings(distance[disc]).numpy()]
    elif pattern is Pattern.RANDOM:
        values = np.fft.fft2(rng.standard_normal((count, *shape[1:])), norm="ortho")[:, disc.numpy()]
    else:
        values = np.zeros((count, int(disc.sum())))
    return torch.from_numpy(values.astype(np.complex64))
