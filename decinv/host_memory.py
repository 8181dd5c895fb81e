"""Memory of the host that tensors have freed, kept for the next ones."""

import ctypes
import os
import platform
from collections.abc import Iterable
from contextlib import suppress

LARGEST = 2**31 - 1
"""Bytes of a block, and of what is free, up to which memory is kept; as many as the C library takes for a threshold."""

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Parameters of ``mallopt``, by their numbers in glibc's malloc.h."""

OWN_CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Environment variables by which a user tells glibc what to keep."""


class HostMemory:
    """What the C library does with memory that the tensors of this process have freed.

    By itself glibc hands blocks above 32 MiB, and often smaller ones, back to the system when they are freed, and the system
    clears each page of the next ones as it is first touched. The activations of an autoencoder are such blocks, in each of its
    layers, and that took a third of the time of an inversion on the CPU at 256 px. Kept, they are there for the next step, as
    torch keeps memory on a GPU. Blocks of other shapes leave gaps, so what is kept goes back to the system when shapes change.
    The process then takes up to one and a half times the memory of the tensors that live at the same time.

    Nothing is changed where the C library is another one, where an environment variable tells glibc what to keep
    (``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``, ``GLIBC_TUNABLES``; see its manual on ``mallopt``), and where the
    process may have no more than some address space (``ulimit -v``), which gaps count against.
    """

    def __init__(self) -> None:
        """Change nothing yet."""
        self._library: ctypes.CDLL | None = None
        self._asked = False
        self._shape: tuple[int, ...] | None = None

    def keep(self) -> bool:
        """Keep freed memory from now on.

        Returns:
            Whether the C library does.
        """
        if not self._asked:
            self._asked = True
            if platform.libc_ver()[0] == "glibc" and not _is_told() and not _is_limited():
                with suppress(OSError, AttributeError):  # where there is no such function after all
                    self._library = _told(ctypes.CDLL(None))
        return self._library is not None

    def turn_to(self, shape: Iterable[int]) -> None:
        """Keep freed memory while tensors of one shape are worked on, and give back what those of another shape have left.

        The first time, what weights have left goes back that were cast or moved to another device.

        Args:
            shape: The shape of what is worked on from now on; () while that is done on another device.
        """
        before, self._shape = self._shape, tuple(shape)
        if self.keep() and before != self._shape:
            self.give_back()

    def give_back(self) -> None:
        """Give what is kept back to the system; the next tensors take memory anew."""
        if self._library is not None:
            self._library.malloc_trim(ctypes.c_size_t(0))


HOST_MEMORY = HostMemory()
"""That of this process."""


def _told(library: ctypes.CDLL) -> ctypes.CDLL | None:
    """Tell the C library to keep freed memory; ``None`` where it does not.

    Older versions of glibc refuse a block's size above 32 MiB, and take no blocks from the system at all instead. What is free
    is spoken of last: alone it would freeze the size at 128 KiB, and have larger blocks handed back whenever they are freed,
    which takes twice the time.
    """
    keeps_blocks = library.mallopt(MMAP_THRESHOLD, LARGEST) or library.mallopt(MMAP_MAX, 0)
    return library if keeps_blocks and library.mallopt(TRIM_THRESHOLD, LARGEST) else None


def _is_told() -> bool:
    return any(name in os.environ for name in OWN_CHOICES)


def _is_limited() -> bool:
    import resource  # which Windows lacks, as it does glibc

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
