"""Peak memory of a piece of code: exact on the CPU and on meta tensors, the allocator's figure on CUDA."""

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode

from decinv.host_memory import HOST_MEMORY

T = TypeVar("T")

MIB = 2**20

SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
"""What errors say, of which torch has no class, when the memory of a device does not suffice."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a device does not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


def in_parts(work: Callable[[Tensor], T], rows: Tensor) -> list[T]:
    """Give ``work(rows)``; where memory does not suffice, that of the two halves of ``rows``, and so on, in their order.

    Raises:
        Exception: What ``work`` raises, if it is something else, or raised for one row alone.
    """
    try:
        return [work(rows)]
    except (RuntimeError, MemoryError) as error:
        if len(rows) < 2 or not is_out_of_memory(error):
            raise
    release()
    return [part for half in torch.tensor_split(rows, 2) for part in in_parts(work, half)]


def in_halves(work: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Give ``work(rows)``, put together from parts where memory does not suffice; see ``in_parts``."""
    return torch.cat(in_parts(work, rows))


def release() -> None:
    """Give back what is not referenced any more; exceptions and allocators hold on to it."""
    gc.collect()
    HOST_MEMORY.give_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class PeakMemory:
    """Measure the peak of device memory within a ``with`` block, above what was live when it was entered.

    What was live before counts as nothing: weights, and inputs. On CUDA the peak is that of torch's caching allocator, whose
    peak statistics are reset. Elsewhere it is the largest sum of bytes of all tensor storages made within the block and alive
    at the same time, which does not see what a kernel uses for itself, and costs some ten microseconds an operation. What is
    compiled runs uncompiled there: torch gives up for good on code that it meets under such a meter.

    Example::

        with PeakMemory(codec.device) as peak:
            codec.decode(latent)
        print(peak.mib)
    """

    def __init__(self, device: torch.device | str) -> None:
        """Choose the device.

        Args:
            device: The device whose memory is measured: CUDA, the CPU, or meta, which predicts memory without computing.
        """
        self.device = torch.device(device)
        self._storages = _LiveStorages(self.device.type)
        self._baseline = 0
        self._peak: int | None = None

    @property
    def bytes(self) -> int:
        """The peak so far, or of the whole block once it is left."""
        if self._peak is not None:
            return self._peak
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self._baseline
        return self._storages.peak

    @property
    def mib(self) -> float:
        """The same in MiB."""
        return self.bytes / MIB

    @property
    def live(self) -> int:
        """Bytes that are alive now of those that the peak counts."""
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device) - self._baseline
        return self._storages.live

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._baseline = torch.cuda.memory_allocated(self.device)
        else:
            self._uncompiled = torch.compiler.set_stance("force_eager")
            self._storages.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._peak = self.bytes
        if self.device.type != "cuda":
            self._storages.__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
            self._uncompiled.__exit__(kind, error, traceback)


class _LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Add up the bytes of the storages that operations make, from when they are made until they are freed."""

    def __init__(self, device_type: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device_type = device_type
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        older = {storage._cdata for storage in self._storages((*args, *kwargs.values()))}
        output = func(*args, **kwargs)
        for storage in self._storages((output,)):
            if storage._cdata in self._sizes or storage._cdata not in older:
                self._book(storage)
        self.peak = max(self.peak, self.live)
        return output

    def _storages(self, values: Iterable[Any]) -> Iterator[UntypedStorage]:
        """Give the storages of all tensors among values, and in lists and tuples there, which is all that operations take."""
        for value in values:
            if isinstance(value, Tensor):
                if value.device.type == self.device_type:
                    yield value.untyped_storage()
            elif isinstance(value, list | tuple):
                yield from self._storages(value)

    def _book(self, storage: UntypedStorage) -> None:
        """Take in a new storage, or the new size of a known one."""
        key = storage._cdata
        if key not in self._sizes:
            weakref.finalize(storage, self._free, key).atexit = False
        self.live += storage.nbytes() - self._sizes.get(key, 0)
        self._sizes[key] = storage.nbytes()

    def _free(self, key: int) -> None:
        self.live -= self._sizes.pop(key)
