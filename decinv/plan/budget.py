"""A codec's memory budget in a plan, where batches of any size take no more time than a few rows."""

from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.codecs.budget import MemoryBudget
from decinv.memory import PeakMemory
from decinv.solver_memory import MOST_ROWS, beyond


class PlannedBudget(MemoryBudget):
    """Take what a budget's parts take of memory, with tensors that have no content, and run each number of rows once.

    What a part of more than ``MOST_ROWS`` rows takes follows from fewer: it grows alike with each further row. And of all full
    parts but the last one there is only what they have given.
    """

    def __init__(self, mib: float, device: torch.device) -> None:
        """Set the budget.

        Args:
            mib: The memory in MiB, above 0.
            device: Where rows are coded, which is where memory is planned.
        """
        super().__init__(mib)
        self.device = device
        self._known: dict[Hashable, _Part] = {}

    def _in_parts(self, work: Callable[[Tensor], Tensor], rows: Tensor, at_once: int, key: Hashable) -> Tensor:
        """Give what is shaped as ``work(rows)``."""
        if at_once >= len(rows):
            return self._part(work, rows, key)
        full, rest = divmod(len(rows), at_once)
        parts = [] if full == 1 else [self._measured(work, rows[:1], key).given((full - 1) * at_once)]
        parts.append(self._part(work, rows[:at_once], key))
        if rest:
            parts.append(self._part(work, rows[:rest], key))
        return torch.cat(parts)

    def _part(self, work: Callable[[Tensor], Tensor], rows: Tensor, key: Hashable) -> Tensor:
        """Take the memory of one part for a moment."""
        count = len(rows)
        part = self._measured(work, rows[:MOST_ROWS], key)
        peak = part.peak
        if count > MOST_ROWS:
            peak = beyond(count, peak, self._measured(work, rows[: MOST_ROWS - 1], key).peak)
        torch.empty(peak, dtype=torch.uint8, device=self.device)
        return part.given(count)

    def _measured(self, work: Callable[[Tensor], Tensor], rows: Tensor, key: Hashable) -> "_Part":
        """Run a few rows, the first time that there are so many."""
        key = key, len(rows)
        if key not in self._known:
            with PeakMemory(self.device) as peak:
                output = work(rows)
            self._known[key] = _Part(peak.bytes, output.shape[1:], output.stride(), output.dtype, output.device)
        return self._known[key]


class _Part(NamedTuple):
    """What is known of some rows.

    Attributes:
        peak: The memory that they take, bytes.
        shape: The shape of one row of what they give.
        stride: How that lies in memory.
        dtype: Its number format.
        device: Where it is.
    """

    peak: int
    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def given(self, count: int) -> Tensor:
        """Give the same for another number of rows."""
        return torch.empty_strided((count, *self.shape), self.stride, dtype=self.dtype, device=self.device)
