"""Work that runs ahead of the one who needs it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def map_ahead(function: Callable[[A], B], items: Iterable[A], workers: int, ahead: int) -> Iterator[B]:
    """Apply ``function`` to items in threads, and give the results in order.

    Args:
        function: What is done; decoders of images and most of torch run beside other threads.
        items: What it is done to; taken one at a time, at most ``ahead`` before their result is asked for.
        workers: Number of threads; with 0 it is done when a result is asked for.
        ahead: Largest number of results that wait or are in the making.

    Yields:
        The results. An exception comes out at its item's place, and ends the sequence.
    """
    if workers == 0:
        yield from map(function, items)
        return
    waiting: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decinv-reader") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
