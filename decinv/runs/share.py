"""Which part of a run's inputs a process works on, without asking any other process."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from math import gcd
from typing import Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Part ``index`` of ``count`` equal parts of the blocks of a run's inputs: every block b with ``b % count == index``."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``i/n``, such as ``3/16`` for the fourth of sixteen parts.

        Raises:
            ValueError: If ``text`` is something else, or not ``0 <= i < n``.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        share = cls(int(match[1]), int(match[2])) if match else None
        if share is None or share.index >= share.count:
            raise ValueError(f"Expected `shard` to be i/n with 0 <= i < n, such as 0/16 for the first of 16, but got {text!r}.")
        return share

    def part(self, rank: int, world_size: int) -> "Share":
        """Divide this share among the processes of one job."""
        return Share(self.index * world_size + rank, self.count * world_size)

    def overlaps(self, other: "Share") -> bool:
        """Whether a block can be in both."""
        return (self.index - other.index) % gcd(self.count, other.count) == 0

    @property
    def label(self) -> str:
        """A file name for what the share's process writes."""
        return f"{self.index:05d}-of-{self.count:05d}"

    def blocks(self, items: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
        """Cut items into blocks of ``size`` consecutive ones, and give this share's blocks with their numbers.

        Blocks are the same for any number of processes, so that what is batched together within a block is, too.
        """
        numbered = groupby(enumerate(items), key=lambda pair: pair[0] // size)
        return ((block, [item for _, item in group]) for block, group in numbered if block % self.count == self.index)


def block_size(total: int, batch_size: int) -> int:
    """Choose how many consecutive inputs make a block: many where there are many, so that images of one size meet.

    A block has between 1 and 16 chunks of ``batch_size`` inputs, and there are at least 64 blocks where there are as many
    chunks, so that as many processes have work.
    """
    return batch_size * min(16, max(1, total // (64 * batch_size)))
