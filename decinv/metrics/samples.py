"""What metrics of single samples have in common: the mean over samples with its 95 % interval."""

import math
from abc import ABC, abstractmethod
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

QUANTILE = NormalDist().inv_cdf(0.975)
"""Half-width of the normal distribution's 95 % interval in standard deviations."""


class Interval(NamedTuple):
    """A mean over samples with its 95 % interval ``mean +- half_width``.

    Attributes:
        mean: The mean of the finite values; nan if there is none.
        half_width: ``1.96 s / sqrt(n)`` with the sample standard deviation s of the n finite values; nan below two of them.
        used: Number n of finite values.
        left_out: Number of values that are not finite: identical samples, whose ratio in dB is infinite, and samples that
            contain nan or infinity. They enter neither the mean nor the interval.
    """

    mean: Tensor
    half_width: Tensor
    used: Tensor
    left_out: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Interval":
        """Summarise values ``(N,)``, one a sample."""
        finite = values[values.isfinite()]
        used = torch.tensor(len(finite), device=values.device)
        mean = finite.mean() if len(finite) else values.new_tensor(torch.nan)
        deviation = finite.std() if len(finite) > 1 else values.new_tensor(torch.nan)
        return cls(mean, _half_width(deviation, used), used, len(values) - used)


class Moments:
    """Count, mean, spread and range of values that come one by one and are not kept.

    The mean and the sum of squared deviations are updated as by Welford, 1962, in double precision.

    Attributes:
        used: Number of finite values.
        left_out: Number of values that are not finite.
        mean: Mean of the finite values; nan if there is none.
        lowest: Lowest value, infinite ones among them; ``inf`` if there is none.
        highest: Highest value, infinite ones among them; ``-inf`` if there is none.
    """

    def __init__(self) -> None:
        """Start without a value."""
        self.used = self.left_out = 0
        self.mean = math.nan
        self.lowest, self.highest = math.inf, -math.inf
        self._squares = 0.0

    def __len__(self) -> int:
        """Number of all values."""
        return self.used + self.left_out

    def add(self, value: float) -> None:
        """Add a value."""
        self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)
        if not math.isfinite(value):
            self.left_out += 1
            return
        self.used += 1
        mean = 0.0 if self.used == 1 else self.mean
        change = value - mean
        self.mean = mean + change / self.used
        self._squares += change * (value - self.mean)

    @property
    def interval(self) -> Interval:
        """The mean with its 95 % interval, as ``Interval.of`` all values in float64 gives it."""
        used = torch.tensor(self.used)
        variance = self._squares / (self.used - 1) if self.used > 1 else math.nan
        mean, deviation = torch.tensor([self.mean, math.sqrt(variance)], dtype=torch.float64)
        return Interval(mean, _half_width(deviation, used), used, torch.tensor(self.left_out))


def _half_width(deviation: Tensor, used: Tensor) -> Tensor:
    return QUANTILE * deviation / used.to(deviation).sqrt()


class PerSampleMetric(Metric, ABC):
    """Gather one value a sample; ``compute`` gives their ``Interval``."""

    full_state_update = False
    values: list[Tensor]

    def __init__(self) -> None:
        """Start without a value."""
        super().__init__()
        self.add_state("values", default=[], dist_reduce_fx="cat")

    @abstractmethod
    def measure(self, preds: Tensor, target: Tensor) -> Tensor:
        """Give one value a sample, ``(B,)``."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add the samples of one batch."""
        self.values.append(self.measure(preds, target))

    def compute(self) -> Interval:
        """Summarise the samples seen so far.

        Raises:
            ValueError: If there is none.
        """
        if not len(self.values):
            raise ValueError(f"Expected at least one sample before `compute`, but {type(self).__name__} has seen none.")
        return Interval.of(dim_zero_cat(self.values))
