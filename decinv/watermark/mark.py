"""Watermarks as a job uses them: which mark an image gets, and what is found in recovered noise."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

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
        score: How likely a mark is, for ROC curves; higher is likelier. The correlation, where all keys have as many
            coefficients; else minus the p-value, or minus the distance where none is known; of messages the equal bits.
        distance: Mean distance to the key's Fourier coefficients; ``None`` for other watermarks.
        bits: Number of equal bits of the message; ``None`` for other watermarks.
        correlation: Correlation with the Fourier coefficients of the likeliest key, in [-1, 1]; ``None`` for other watermarks,
            and where a key has none.
        likeliest: Number of the key that it is the likeliest to be whatever the strength of the noise; ``None`` with it.
    """

    mark: int
    key: str
    p_value: float | None
    found: bool | None
    score: float
    distance: float | None = None
    bits: int | None = None
    correlation: float | None = None
    likeliest: int | None = None


class Watermark(ABC):
    """Marks that noise can carry. Subclasses say which, in ``marks`` and ``shape``, and how, in ``_mark`` and ``_find``.

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
    def _mark(self, noise: Tensor, which: Tensor) -> Tensor:
        """Give noise ``(B, C, H, W)`` with the marks ``(B,)``, none of which is -1."""

    def find(self, noise: Tensor) -> list[Finding]:
        """Look for the marks in recovered noise ``(B, C, H, W)``, in the space of the diffusion model.

        Raises:
            ValueError: If the shape is not that of the marks, or a subclass finds too little, or marks that there are not.
        """
        finite = noise.flatten(1).abs().sum(1).isfinite()  # which bounds its Fourier coefficients
        count = int(finite.sum())
        findings = self._find(noise[finite]) if count else []
        if len(findings) != count or not all(-1 <= finding.mark < self.marks for finding in findings):
            raise ValueError(
                f"Expected {type(self).__name__} to find a mark below {self.marks}, or -1, in each of {count} noises, but got "
                f"{[finding.mark for finding in findings]}."
            )
        found = iter(findings)
        return [next(found) if known else Finding(-1, "", None, None, -math.inf) for known in finite.tolist()]

    @abstractmethod
    def _find(self, noise: Tensor) -> list[Finding]:
        """Give a finding for each noise ``(B, C, H, W)``, at least one and all finite; ``verdict`` judges p-values."""

    def verdict(self, p_value: float | None) -> bool | None:
        """Tell whether a p-value proves a mark at the accepted rate of false alarms."""
        return None if p_value is None else p_value <= self.fpr * (1 + ROUNDING)
