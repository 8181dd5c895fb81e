"""Watermarks as a job uses them: which mark an image gets, and what is found in recovered noise."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.watermark.disc import Mask
from decinv.watermark.gaussian_shading import match_p_value, messages, read_message, shade, threshold, trace
from decinv.watermark.shading_key import ShadingKey
from decinv.watermark.three_keys import three_keys
from decinv.watermark.tree_ring import (
    correlations,
    decoy_p_value,
    distance_p_value,
    distances,
    inject,
    likeliest,
    p_value,
    p_value_of_any,
)
from decinv.watermark.tree_ring_key import TreeRingKey

ROUNDING = 1e-9
"""Part of a rate of false alarms that the rounding of a p-value may be."""


class Finding(NamedTuple):
    """What was found in the noise of one image.

    Attributes:
        mark: Number of the mark that fits best, from 0: the key of the lowest distance, as the papers tell it, or the message
            of the most equal bits; -1 where the noise is not finite, and nothing is known.
        key: Fingerprint of the key.
        p_value: Probability that an image without a mark fits any of the marks as well; ``None`` where none is known.
        found: Whether that is at most the accepted rate of false alarms; ``None`` where it is not known.
        distance: Mean distance to the key's Fourier coefficients; ``None`` for other watermarks.
        bits: Number of equal bits of the message; ``None`` for other watermarks.
        correlation: Correlation with the Fourier coefficients of the likeliest key, in [-1, 1]; ``None`` for other watermarks,
            and where a key has none.
        likeliest: Number of the key that it is the likeliest to be whatever the strength of the noise; ``None`` with it.
        score: How likely a mark is, for ROC curves; higher is likelier. The correlation, where all keys have as many
            coefficients; else minus the p-value, or minus the distance where none is known; of messages the equal bits.
    """

    mark: int
    key: str
    p_value: float | None
    found: bool | None
    distance: float | None = None
    bits: int | None = None
    correlation: float | None = None
    likeliest: int | None = None
    score: float = -math.inf


class Watermark(ABC):
    """Marks that noise can carry.

    Attributes:
        fpr: Accepted rate of false alarms.
    """

    def __init__(self, fpr: float = 0.01) -> None:
        """Set the rate.

        Raises:
            ValueError: If ``fpr`` is out of range.
        """
        if not 0 < fpr < 1:
            raise ValueError(f"Expected `fpr` in (0, 1), but got {fpr}.")
        self.fpr = fpr

    @property
    @abstractmethod
    def marks(self) -> int:
        """Number of different marks."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the noise that carries them."""

    def mark(self, noise: Tensor, which: Tensor) -> Tensor:
        """Mark standard normal noise.

        Args:
            noise: Noise ``(B, C, H, W)``; it is not changed.
            which: Which mark each gets, ``(B,)``, from 0; -1 for none.

        Returns:
            Marked noise of the same shape.

        Raises:
            ValueError: If the shape is not that of the marks, or there is no such mark.
        """
        if len(which) and not -1 <= int(which.min()) <= int(which.max()) < self.marks:
            raise ValueError(f"Expected marks from 0 to {self.marks - 1}, or -1 for none, but got {which.tolist()}.")
        result, chosen = noise.clone(), (which >= 0).to(noise.device)
        result[chosen] = self._mark(noise[chosen], which[which >= 0].cpu())
        return result

    @abstractmethod
    def _mark(self, noise: Tensor, which: Tensor) -> Tensor: ...

    def find(self, noise: Tensor) -> list[Finding]:
        """Look for the marks in recovered noise ``(B, C, H, W)``, in the space of the diffusion model.

        Raises:
            ValueError: If the shape is not that of the marks.
        """
        finite = noise.flatten(1).abs().sum(1).isfinite()  # which bounds its Fourier coefficients
        found = iter(self._find(noise[finite]))
        return [next(found) if known else Finding(-1, "", None, None) for known in finite.tolist()]

    @abstractmethod
    def _find(self, noise: Tensor) -> list[Finding]: ...

    def verdict(self, p_value: float | None) -> bool | None:
        """Tell whether a p-value proves a mark at the accepted rate of false alarms."""
        return None if p_value is None else p_value <= self.fpr * (1 + ROUNDING)


class _Rings(Watermark):
    """Tree rings of keys that are at hand; see ``TreeRings``."""

    def __init__(self, keys: Sequence[TreeRingKey], fpr: float = 0.01, decoys: int = 0) -> None:
        """Take the keys.

        Args:
            keys: The keys, one for each mark.
            fpr: Accepted rate of false alarms, in (0, 1).
            decoys: Number of other keys to compare each with; see ``TreeRings``.

        Raises:
            ValueError: If there is no key, they are of several shapes or not all different, an option is out of range, or a key
                has no decoys.
        """
        super().__init__(fpr)
        if not keys:
            raise ValueError("Expected at least one key, but got none.")
        if len({key.shape for key in keys}) > 1:
            raise ValueError(f"Expected keys of one shape, but got {', '.join(str(key.shape) for key in keys)}.")
        twice = [name for name, count in Counter(key.fingerprint for key in keys).items() if count > 1]
        if twice:
            raise ValueError(f"Expected keys that differ, but got {', '.join(twice)} more than once; leave out the others.")
        if decoys < 0 or (0 < (decoys + 1) * fpr * (1 + ROUNDING) < len(keys) and decoys):
            raise ValueError(
                f"Expected `decoys` to be 0, or so many that a p-value can be as low as `fpr` {fpr:g}, at least "
                f"{math.ceil(len(keys) / fpr) - 1}, but got {decoys}."
            )
        self.keys, self.decoys = tuple(keys), decoys
        if decoys and self._centred:
            for key in keys:
                if key.directed:
                    key.check_decoys()

    @property
    def marks(self) -> int:
        """Number of keys."""
        return len(self.keys)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the keys."""
        return self.keys[0].shape

    def _mark(self, noise: Tensor, which: Tensor) -> Tensor:
        """Write the key of each image into its noise."""
        marked, which = noise.clone(), which.to(noise.device)
        for index in range(self.marks):
            marked[which == index] = inject(noise[which == index], self.keys[index])
        return marked

    def _find(self, noise: Tensor) -> list[Finding]:
        """Find the nearest key and the likeliest one, and how likely any fits as well by chance."""
        distance, mark = distances(noise, self.keys).min(1)
        found = zip(mark.tolist(), self._p_values(noise), distance.tolist(), strict=True)
        nearest = [
            Finding(which, self.keys[which].fingerprint, p, self.verdict(p), distance=d, score=-d if p is None else -p)
            for which, p, d in found
        ]
        if not self._correlated:
            return nearest
        best = likeliest(noise, self.keys)
        r = correlations(noise, self.keys).gather(1, best[:, None])[:, 0]
        alike = len({key.values.numel() for key in self.keys}) == 1
        told = zip(nearest, r.tolist(), best.tolist(), strict=True)
        return [
            finding._replace(correlation=value, likeliest=which, score=value if alike else finding.score)
            for finding, value, which in told
        ]

    @property
    def _centred(self) -> bool:
        """Whether p-values of all keys are known."""
        return all(key.mask is Mask.CENTRED for key in self.keys)

    @property
    def _correlated(self) -> bool:
        """Whether noise can correlate with every key, and a p-value is known of it."""
        return self._centred and all(key.directed for key in self.keys)

    def _p_values(self, noise: Tensor) -> list[float | None]:
        if not self._centred:
            return [None] * len(noise)
        return list(p_value_of_any(torch.stack([self._p_value(noise, key) for key in self.keys], dim=1)).tolist())

    def _p_value(self, noise: Tensor, key: TreeRingKey) -> Tensor:
        if not key.directed:
            return distance_p_value(noise, key)
        return decoy_p_value(noise, key, self.decoys) if self.decoys else p_value(noise, key)


class TreeRings(_Rings):
    """Tree-ring watermarks (Wen et al., arXiv 2305.20030), a key for each mark.

    The mark of an image is the nearest of the keys, as in the published code. Whether there is a mark at all is told by
    correlation, which does not depend on the strength at which the noise was recovered, and so is the likeliest key; not where
    any key is 0 or a single coefficient, or has the published mask.
    """

    def __init__(self, keys: Sequence[str], fpr: float = 0.01, decoys: int = 0) -> None:
        """Load the keys.

        Args:
            keys: Their files, as ``python -m decinv.watermark rings`` makes them.
            fpr: Accepted rate of false alarms, in (0, 1).
            decoys: Number of other keys to compare each with, for p-values that hold whatever noise an inversion recovers of
                unmarked images; 0 takes that noise for white, of any strength. With N keys at least ``N / fpr`` are needed.
                Keys must be drawn at random, those of rings with at least 3 of them.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If there is no key, one cannot be read or is there twice, an option is out of range, or a key has no
                decoys.
        """
        if isinstance(keys, str):
            raise ValueError(f"Expected a list of files of keys, but got {keys!r}; put it in brackets.")
        super().__init__([TreeRingKey.load(path) for path in keys], fpr, decoys)


class ThreeKeys(_Rings):
    """The three keys whose classification arXiv 2311.18387 and 2409.18442 report."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        channel: int = 0,
        stretched: bool = True,
        mask: Mask = Mask.CENTRED,
        fpr: float = 0.01,
    ) -> None:
        """Make the keys.

        Args:
            shape: Shape (C, H, W) of the latents.
            channel: The channel that is marked.
            stretched: Whether the values k of the rings are stretched to 2 k - 1, as in arXiv 2409.18442.
            mask: Where the disc of coefficients lies; ``PUBLISHED`` reads the first key as the second and has no p-value.
            fpr: Accepted rate of false alarms, in (0, 1).

        Raises:
            ValueError: If an option is out of range.
        """
        super().__init__(three_keys(shape, channel, stretched, mask), fpr)


class GaussianShading(Watermark):
    """Gaussian Shading (Yang et al., arXiv 2404.04956), a message for each user."""

    def __init__(self, key: str, users: int = 1, seed: int = 0, fpr: float = 1e-6) -> None:
        """Load the key and draw the users' messages.

        Args:
            key: Its file, as ``python -m decinv.watermark shading`` makes it.
            users: Number of users, each with a message of its own, at least 1.
            seed: Seed of the messages; they need not be secret.
            fpr: Accepted rate of false alarms, in (0, 1), whatever the number of users; at least about ``users / 2^bits``,
                the rate at which noise without a mark reads as the whole message of one.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the key cannot be read, an option is out of range, or two users would have the same message.
        """
        super().__init__(fpr)
        if users < 1:
            raise ValueError(f"Expected `users` to be at least 1, but got {users}.")
        self.key = ShadingKey.load(key)
        self.messages = messages(users, self.key.bits, seed)
        if threshold(self.key.bits, fpr, users) is None:
            chance = float(match_p_value(torch.tensor([self.key.bits]), self.key.bits, users))
            raise ValueError(
                f"Expected `fpr` of at least about {chance:.2g}, at which all {self.key.bits} bits of one of {users} users are "
                f"equal by chance, but got {fpr:g}; give a key of more bits, or a higher rate."
            )
        if (different := len({tuple(message) for message in self.messages.tolist()})) < users:
            raise ValueError(
                f"Expected a message of its own for each of {users} users, but only {different} of those drawn differ; give a "
                "key of more bits, or another `seed`."
            )

    @property
    def marks(self) -> int:
        """Number of users."""
        return len(self.messages)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the key."""
        return self.key.shape

    def _mark(self, noise: Tensor, which: Tensor) -> Tensor:
        """Write the message of each image's user into its noise."""
        return shade(noise, self.key, self.messages[which])

    def _find(self, noise: Tensor) -> list[Finding]:
        """Find the user whose message is closest, and how likely any is as close by chance."""
        user, bits = trace(read_message(noise, self.key).cpu(), self.messages)
        p_values = match_p_value(bits, self.key.bits, self.marks)
        found = zip(user.tolist(), p_values.tolist(), bits.tolist(), strict=True)
        key = self.key.fingerprint
        return [Finding(which, key, p, self.verdict(p), bits=count, score=count) for which, p, count in found]
