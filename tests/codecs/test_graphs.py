"""Recorded maps: the policy with recordings that compute on the CPU, the calls to torch with a fake, CUDA where there is."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from decinv.codecs import AutoencoderCodec, graphs, load_codec
from decinv.codecs.graphs import WARM_UPS, CudaGraphs, Recording


class Replaying:
    """Stands in for a graph: computes what was recorded, into the recorded result."""

    def __init__(self, work: Callable[[Tensor], Tensor], source: Tensor, result: Tensor) -> None:
        self.work, self.source, self.result = work, source, result

    def replay(self) -> None:
        self.result.copy_(self.work(self.source))


class Squaring:
    """A map that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, rows: Tensor) -> Tensor:
        self.calls += 1
        return rows.square()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Take the CPU for CUDA, and give the shapes that are recorded."""
    shapes: list[tuple[int, ...]] = []

    def record(work: Callable[[Tensor], Tensor], rows: Tensor, *place: object) -> Recording:
        shapes.append(tuple(rows.shape))
        source = torch.full_like(rows, torch.nan)
        result = work(source)
        return Recording(Replaying(work, source, result), source, result)  # type: ignore[arg-type]

    monkeypatch.setattr(graphs, "record", record)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True, raising=False)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    return shapes


@torch.no_grad()
def test_each_shape_is_recorded_once_and_results_outlive_the_next_launch(recorded: list[tuple[int, ...]]) -> None:
    cache, work = CudaGraphs(), Squaring()
    first = cache.run(work, torch.full((2, 3), 2.0))
    assert torch.equal(first, torch.full((2, 3), 4.0))
    assert torch.equal(cache.run(work, torch.full((2, 3), 3.0)), torch.full((2, 3), 9.0))
    assert torch.equal(first, torch.full((2, 3), 4.0))
    cache.run(work, torch.ones(1, 3))
    cache.run(work, torch.ones(1, 3, dtype=torch.float64))
    cache.run(Squaring(), torch.ones(1, 3))
    assert recorded == [(2, 3), (1, 3), (1, 3), (1, 3)], "each map, shape and number format"
    with torch.autocast("cuda", enabled=False, dtype=torch.bfloat16):
        cache.run(work, torch.ones(1, 3))
    assert len(recorded) == 5


@torch.no_grad()
def test_what_was_not_used_for_longest_is_dropped(recorded: list[tuple[int, ...]]) -> None:
    cache, work = CudaGraphs(capacity=2), Squaring()
    for count in (1, 2, 1, 3, 1, 2):
        cache.run(work, torch.ones(count, 1))
    assert recorded == [(1, 1), (2, 1), (3, 1), (2, 1)]


def test_gradients_are_computed_by_the_map_itself(recorded: list[tuple[int, ...]]) -> None:
    cache, rows = CudaGraphs(), torch.full((2,), 3.0, requires_grad=True)
    cache.run(torch.square, rows).sum().backward()
    assert torch.equal(rows.grad, torch.full((2,), 6.0))
    assert not recorded


@torch.no_grad()
def test_weights_that_move_leave_recordings_behind(
    recorded: list[tuple[int, ...]], saved: Callable[[str], Path], images
) -> None:
    codec, plain = AutoencoderCodec(str(saved("tiny")), cuda_graphs=True), load_codec(saved("tiny"))
    image = images(2, 32, 32)
    assert torch.equal(codec.encode(image), plain.encode(image))
    codec.encode(image)
    assert len(recorded) == 1
    torch.nn.ModuleList([codec]).float()  # moves the weights, as far as it knows
    codec.encode(image)
    assert len(recorded) == 2


@torch.no_grad()
def test_a_recording_that_fails_is_told_of_once(recorded: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> Recording:
        recorded.append(())
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "record", fail)
    cache = CudaGraphs()
    with pytest.warns(UserWarning, match="Recording a CUDA graph failed, so the codec runs without: operation not permitted"):
        result = cache.run(torch.square, torch.full((2,), 3.0))
    assert torch.equal(result, torch.full((2,), 9.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.run(torch.square, torch.ones(3))
    assert len(recorded) == 1


@torch.no_grad()
def test_a_lack_of_memory_is_raised_for_batches_to_be_halved(monkeypatch: pytest.MonkeyPatch, recorded: list[object]) -> None:
    cache = CudaGraphs()
    cache.run(torch.square, torch.ones(1))
    record = graphs.record

    def fail(*args: object) -> Recording:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(graphs, "record", fail)
    with pytest.raises(torch.OutOfMemoryError):
        cache.run(torch.square, torch.ones(2))
    monkeypatch.setattr(graphs, "record", record)
    cache.run(torch.square, torch.ones(1))
    assert len(recorded) == 2, "what was recorded is let go, and recording goes on with smaller batches"


@pytest.mark.parametrize("inference", [False, True])
def test_warm_ups_and_recording_share_a_side_stream(monkeypatch: pytest.MonkeyPatch, inference: bool) -> None:
    events: list[str] = []

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def wait_stream(self, other: "Stream") -> None:
            events.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def within(name: str) -> Iterator[None]:
        events.append(f"enter {name}")
        yield
        events.append(f"leave {name}")

    def graph(graph: object, pool: object, stream: Stream, capture_error_mode: str) -> object:
        assert (graph, pool, capture_error_mode) == ("graph", "pool", "thread_local")
        return within(f"recording on {stream.name}")

    def work(rows: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not torch.is_autocast_cache_enabled()
        events.append("work")
        return rows + 1

    main, side = Stream("main"), Stream("side")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: within(stream.name))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: "graph")
    monkeypatch.setattr(torch.cuda, "graph", graph)
    rows = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)
    with torch.inference_mode(inference):
        recording = graphs.record(work, rows, "pool", side)  # type: ignore[arg-type]
    assert events == [
        "side waits for main",
        "enter side",
        *["work"] * WARM_UPS,
        "main waits for side",
        "enter recording on side",
        "work",
        "leave recording on side",
        "leave side",
    ]
    assert recording.source.is_contiguous()
    assert recording.source.data_ptr() != rows.data_ptr()
    assert not recording.source.is_inference()
    assert torch.equal(recording.result, rows + 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@torch.no_grad()
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "autocast"])
def test_on_cuda_results_are_those_of_the_codec(saved: Callable[[str], Path], images, precision: str) -> None:
    dtype = "bfloat16" if precision == "bfloat16" else "float32"
    codec = AutoencoderCodec(str(saved("kl")), dtype=dtype, cuda_graphs=True).cuda()  # type: ignore[arg-type]
    plain = AutoencoderCodec(str(saved("kl")), dtype=dtype).cuda()  # type: ignore[arg-type]
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "autocast"):
        for count in (4, 3, 4, 1, 3):  # recordings share memory, and are launched in another order than they were made
            image = images(count, 64, 64, seed=count).cuda()
            latent = plain.encode(image)
            decoded = plain.decode(latent)
            torch.testing.assert_close(codec.encode(image), latent, rtol=0, atol=1e-2 if precision != "float32" else 1e-4)
            torch.testing.assert_close(codec.decode(latent), decoded, rtol=0, atol=1e-2 if precision != "float32" else 1e-4)
    assert len(codec._graphs._recordings) == 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@torch.no_grad()
def test_on_cuda_a_map_that_cannot_be_recorded_runs_all_the_same() -> None:
    rows = torch.full((2,), 3.0, device="cuda")
    with pytest.warns(UserWarning, match="Recording a CUDA graph failed"):
        result = CudaGraphs().run(lambda rows: rows * rows.sum().item(), rows)
    assert torch.equal(result.cpu(), torch.full((2,), 18.0))
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
