"""CUDA graphs: the kernels of a codec, recorded once for each shape and launched together from then on."""

import warnings
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from decinv.memory import is_out_of_memory

WARM_UPS = 3
"""Runs before a recording, in which libraries choose their algorithms and compilers compile; as many as torch makes."""


class Recording(NamedTuple):
    """A recorded map, which reads and writes fixed memory.

    Attributes:
        graph: What launches the kernels.
        source: Where they read their input.
        result: Where they leave their output; the next launch of any recording may overwrite it.
    """

    graph: torch.cuda.CUDAGraph
    source: Tensor
    result: Tensor


class CudaGraphs:
    """Run maps without gradients as CUDA graphs, which spares the host a launch for each kernel.

    A map is recorded at its first call for each shape and number format. The latest recordings are kept, and all share one
    pool of memory, of the size that the largest of them needs: none is launched while another runs, and what a launch leaves
    is copied at once. Results are those of the map itself.
    """

    def __init__(self, capacity: int = 32) -> None:
        """Start without a recording.

        Args:
            capacity: Recordings that are kept; beyond it the one that was not used for longest is dropped.
        """
        self.capacity = capacity
        self._recordings: dict[Hashable, Recording] = {}
        self._place: tuple[Any, torch.cuda.Stream] | None = None
        self._has_failed = False

    def run(self, work: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Give ``work(rows)``; by a recording where gradients are off, unless recording failed once, of which a warning tells.

        Args:
            work: The map: it reads nothing back to the host, and what it reads beside ``rows`` stays where it is in memory.
            rows: Its input, on CUDA.

        Raises:
            ValueError: If the input is not on CUDA.
        """
        if not rows.is_cuda:
            raise ValueError(
                f"Expected a codec on CUDA for `cuda_graphs`, but it runs on {rows.device}; leave `cuda_graphs` off there."
            )
        if torch.is_grad_enabled() or self._has_failed:
            return work(rows)
        number_format = (rows.dtype, torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda"))
        key = (work, rows.shape, rows.device, number_format)
        recording = self._recordings.pop(key, None) or self._record(work, rows)
        if recording is None:
            return work(rows)
        self._recordings[key] = recording  # the latest is the last
        recording.source.copy_(rows)
        recording.graph.replay()
        return recording.result.clone()

    def clear(self) -> None:
        """Drop all recordings, for weights that move in memory leave them behind."""
        self._drop(len(self._recordings))
        self._place = None

    def _drop(self, count: int) -> None:
        """Drop the ``count`` recordings that were not used for longest."""
        if count > 0:
            torch.cuda.synchronize(next(iter(self._recordings.values())).source.device)  # one of them may still run
            for key in list(self._recordings)[:count]:
                del self._recordings[key]

    def _record(self, work: Callable[[Tensor], Tensor], rows: Tensor) -> Recording | None:
        self._drop(len(self._recordings) + 1 - self.capacity)
        if self._place is None:
            self._place = torch.cuda.graph_pool_handle(), torch.cuda.Stream(rows.device)  # type: ignore[no-untyped-call]
        try:
            return record(work, rows, *self._place)
        except RuntimeError as error:
            self.clear()
            if is_out_of_memory(error):
                raise
            self._has_failed = True
            warnings.warn(f"Recording a CUDA graph failed, so the codec runs without: {error}", stacklevel=2)
            return None


def record(work: Callable[[Tensor], Tensor], rows: Tensor, pool: Any, stream: torch.cuda.Stream) -> Recording:
    """Record a map for one shape, after some runs to warm up.

    Args:
        work: The map.
        rows: An input, on CUDA; its values do not matter.
        pool: The memory pool that recordings share.
        stream: The side stream on which all of them are made.
    """
    autocast = torch.autocast(
        "cuda",
        dtype=torch.get_autocast_dtype("cuda"),
        enabled=torch.is_autocast_enabled("cuda"),
        cache_enabled=False,  # a cast kept from before would not be in the recording
    )
    with torch.inference_mode(False), torch.no_grad(), autocast:
        source = rows.clone(memory_format=torch.contiguous_format)
        current = torch.cuda.current_stream(rows.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):  # left even where the end of a recording raises
            for _ in range(WARM_UPS):
                work(source)
            current.wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Threads that read images and write results may use CUDA meanwhile.
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                result = work(source)
    return Recording(graph, source, result)
