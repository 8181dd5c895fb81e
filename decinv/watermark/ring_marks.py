"""Tree rings as marks: a key for each."""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from decinv.watermark.disc import Mask
from decinv.watermark.mark import ROUNDING, Finding, Watermark
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
            Finding(which, self.keys[which].fingerprint, p, self.verdict(p), score=-d if p is None else -p, distance=d)
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
