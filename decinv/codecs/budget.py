"""Coding no more images at once than fit into a given memory."""

import warnings
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from decinv.memory import MIB, PeakMemory
from decinv.ranges import refuse_not_above


class MemoryBudget:
    """Apply maps whose rows are independent to as many rows at once as fit into a given memory.

    The memory that one row takes is measured once for each map, size of a row and number format, by a run of a batch's first
    row; see ``decinv.memory.PeakMemory`` for what counts. A row that takes more than the budget is run alone, with a warning.

    Attributes:
        mib: The memory in MiB.
        reserved: Bytes of it that are kept free for others.
    """

    def __init__(self, mib: float) -> None:
        """Set the budget.

        Args:
            mib: The memory in MiB, above 0.

        Raises:
            ValueError: If it is out of range.
        """
        refuse_not_above(0, memory_mib=mib)
        self.mib = mib
        self.reserved = 0
        self._peaks: dict[Hashable, int] = {}
        self._has_warned = False

    @property
    def bytes(self) -> int:
        """The memory in bytes."""
        return int(self.mib * MIB)

    def run(self, work: Callable[[Tensor], Tensor], rows: Tensor, device: torch.device | None = None) -> Tensor:
        """Give ``work(rows)``, computed in parts of equally many rows, the last of fewer.

        Rows that are differentiated through are not parted: the backward pass needs the activations of all.

        Args:
            work: The map; the same object each time, for its measurements to be found again.
            rows: Its rows ``(B, ...)``, at least one.
            device: Where to compute, by default where the rows are; parts are moved there, and their results back.
        """
        here = rows.device
        there = here if device is None else device

        def moved(part: Tensor) -> Tensor:
            return work(part.to(there)).to(here)

        if rows.requires_grad and torch.is_grad_enabled():
            return moved(rows)
        kind = there.type
        autocast = kind != "meta" and torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind)
        key = (work, rows.shape[1:], here, there, autocast)
        if key not in self._peaks:
            with PeakMemory(there) as peak:
                first = moved(rows[:1])
            self._peaks[key] = peak.bytes
            self._warn(peak.mib, rows)
            if len(rows) == 1:
                return first
            del first
        at_once = max(1, (self.bytes - self.reserved) // max(self._peaks[key], 1))
        return self._in_parts(moved, rows, at_once, key)

    def _in_parts(self, work: Callable[[Tensor], Tensor], rows: Tensor, at_once: int, key: Hashable) -> Tensor:
        """Give ``work(rows)``, computed for ``at_once`` rows at a time; the key tells apart what takes other memory."""
        del key
        if at_once >= len(rows):
            return work(rows)
        return torch.cat([work(part) for part in torch.split(rows, at_once)])

    def _warn(self, mib: float, rows: Tensor) -> None:
        """Say once that the budget does not suffice for one row."""
        if mib > self.mib and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"Coding one row of shape {tuple(rows.shape[1:])} takes {mib:.4g} MiB, more than the budget of {self.mib:.4g} "
                "MiB; such rows are coded one at a time, above the budget.",
                stacklevel=2,
            )
