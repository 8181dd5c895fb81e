"""A sample of a stream whose length nobody knows."""

from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


class Reservoir(Generic[T]):
    """Keep all items of a stream up to a bound, and beyond it as many, drawn uniformly from all so far.

    That is Algorithm R of Vitter, 1985. A quantile q over n items kept is the true one to ``sqrt(q (1 - q) / n)`` of the ranks,
    one standard deviation.

    Attributes:
        items: The items kept, ``capacity`` at most.
        seen: Number of items of the stream so far.
    """

    def __init__(self, capacity: int, seed: int = 0) -> None:
        """Start without an item.

        Args:
            capacity: Number of items to keep at most, at least 1.
            seed: Seed of the draws, which are the same for the same stream.
        """
        self.capacity = capacity
        self.items: list[T] = []
        self.seen = 0
        self._random = Random(seed)

    def add(self, item: T) -> None:
        """Look at the next item."""
        self.seen += 1
        if len(self.items) < self.capacity:
            self.items.append(item)
            return
        place = self._random.randrange(self.seen)
        if place < self.capacity:
            self.items[place] = item
