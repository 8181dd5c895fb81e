"""Where memory does not suffice, a chunk is solved on the host, and comes to the same bit for bit."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from decinv.api import invert
from decinv.batch import Batch
from decinv.callbacks.memory import Memory
from decinv.codecs import AutoencoderCodec, Codec, LinearCodec
from decinv.codecs.budget import MemoryBudget
from decinv.codecs.frames import as_clips
from decinv.data import ChunkData
from decinv.memory import MIB, PeakMemory
from decinv.modules import DecoderInversion
from decinv.placement import HOST, Placement
from decinv.problems import DecoderProblem
from decinv.solver import Solver
from decinv.solver_memory import solver_need
from decinv.stopping import Stopping
from decinv.updates import Anderson, ForwardStep
from decinv.updates.stock import StockRule

DEVICE = torch.device("xpu", 0)
"""An accelerator that this machine need not have."""

STOPPING = Stopping(max_iters=30)
SHAPE = (4, 3, 16, 16)


class OnDevice(Tensor):
    """A tensor that says it is on the accelerator, and meets no other tensor than its like and numbers."""

    @property
    def device(self) -> torch.device:
        return DEVICE

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.to and isinstance(args[1], torch.device) and args[1] != DEVICE:
            return args[0].as_subclass(Tensor).to(*args[2:]) if args[2:] else args[0].as_subclass(Tensor)
        with torch._C.DisableTorchFunctionSubclass():
            tensors = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor) and leaf.ndim]
        if not all(isinstance(tensor, OnDevice) for tensor in tensors):
            raise RuntimeError(f"{func} meets tensors on the device and on the host")
        return super().__torch_function__(func, types, args, kwargs or {})


class Moving(TorchFunctionMode):
    """Let tensors be moved to the accelerator, and count how many at once."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[torch.Size] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.to and len(args) == 2 and args[1] == DEVICE:
            if not isinstance(args[0], OnDevice):
                self.moved.append(args[0].shape)
            return args[0].as_subclass(OnDevice)
        return func(*args, **(kwargs or {}))


class Accelerated(LinearCodec):
    """A codec on the accelerator, with a memory budget."""

    def __init__(self, mib: float) -> None:
        super().__init__()
        self.budget = MemoryBudget(mib)
        self.maps = super()._encode, super()._decode
        self.basis, self.matrix = (part.as_subclass(OnDevice) for part in (self.basis, self.matrix))

    def _apply(self, fn: Any, recurse: bool = True) -> "Accelerated":
        return self  # a trainer on this machine leaves it where it is

    def _encode(self, image: Tensor) -> Tensor:
        assert self.budget is not None
        return self.budget.run(self.maps[0], image, self.device)

    def _decode(self, latent: Tensor) -> Tensor:
        assert self.budget is not None
        return self.budget.run(self.maps[1], latent, self.device)


def adam(params: Any) -> StockRule:
    return StockRule(torch.optim.Adam(params, 0.05))


def tensors_of(thing: Any) -> list[Tensor]:
    """All tensors that an object keeps, in containers and in objects of its own too."""
    found = tree_leaves(thing)
    inner = [vars(leaf) for leaf in found if type(leaf).__module__.startswith("decinv.") and hasattr(leaf, "__dict__")]
    kept = [leaf for leaf in found if isinstance(leaf, Tensor)]
    return kept + [tensor for part in inner if "budget" not in part for tensor in tensors_of(part)]


@pytest.fixture
def moving() -> Iterator[Moving]:
    with Moving() as mode:
        yield mode


def solver_on(rule: Callable[[Any], Any], stopping: Stopping = STOPPING) -> Solver:
    parameter = torch.nn.Parameter(torch.empty(0))
    return Solver(parameter, rule([parameter]), stopping)


@pytest.mark.parametrize("rule", [Anderson, ForwardStep, adam])
def test_what_is_solved_on_the_host_has_nothing_on_the_device_and_equals_what_is_solved_there(
    images: Callable[..., Tensor], moving: Moving, rule: Callable[[Any], Any]
) -> None:
    image, codec = images(SHAPE[0], *SHAPE[2:]), Accelerated(0.001)
    image = torch.cat([image[:1] * 0, image[1:]])  # the first one leaves early
    assert Placement(codec, rule, STOPPING).on_host(image)
    solver, plain = solver_on(rule), solver_on(rule)
    plain.start(DecoderProblem(LinearCodec(), image))
    moving.moved.clear()
    solver.start(DecoderProblem(codec, image))
    state: dict[str, Any] = {}
    while not solver.done:
        solver.step()
        plain.step()
        kept = [*tensors_of(solver.state_dict()), *tensors_of(vars(solver)), *tensors_of(vars(solver.rule))]
        assert len(kept) > 10
        assert not any(isinstance(tensor, OnDevice) for tensor in kept)
        if solver.iteration == 5:
            state = copy.deepcopy(solver.state_dict())
    assert len(moving.moved) > 2 * solver.iteration, "each evaluation moves latents and images"
    assert torch.equal(solver.result().latent, plain.result().latent)
    assert torch.equal(solver.result().history.nan_to_num(), plain.result().history.nan_to_num())

    resumed = solver_on(rule)
    resumed.start(DecoderProblem(codec, image))
    resumed.load_state_dict(state)
    while not resumed.done:
        resumed.step()
    assert torch.equal(resumed.result().latent, plain.result().latent)


def test_the_state_is_on_the_device_where_it_fits_and_has_its_part_of_the_budget(moving: Moving) -> None:
    image = torch.zeros(SHAPE)
    state = max(solver_need(Anderson, STOPPING, len(image), 4 * 4 * 4, tuple(image.shape[1:])))
    fitting, short = Accelerated(state / MIB), Accelerated((state - 1) / MIB)
    placement = Placement(fitting, Anderson, STOPPING)
    assert not placement.on_host(image)
    assert fitting.budget is not None
    assert fitting.budget.reserved == state
    assert Placement(short, Anderson, STOPPING).on_host(image)
    assert short.budget is not None
    assert short.budget.reserved == 0, "the codec has all of it"
    assert not Placement(short, ForwardStep, STOPPING).on_host(image), "a rule that keeps less"
    assert not placement.on_host(image[:1])
    assert fitting.budget.reserved < state / 2
    moving.moved.clear()
    assert not placement.on_host(image)
    assert not moving.moved, "each shape is tried once"


def test_the_device_is_the_host_on_the_cpu_and_where_there_is_no_budget(moving: Moving) -> None:
    here, free = LinearCodec(), Accelerated(1e-6)
    here.budget, free.budget = MemoryBudget(1e-6), None
    for codec in (here, free):
        assert not Placement(codec, Anderson, STOPPING).on_host(torch.zeros(SHAPE))
    assert not Placement(Accelerated(1e-6), Anderson, STOPPING).on_host(torch.zeros(0, *SHAPE[1:]))
    assert not moving.moved


def test_a_sample_that_does_not_fit_alone_is_left_to_the_host(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Accelerated(100)

    def full(image: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(codec, "_encode", full)
    assert Placement(codec, Anderson, STOPPING).on_host(torch.zeros(SHAPE))


@pytest.mark.parametrize("refused", [RuntimeError("Padding size should be less"), ValueError("Expected another size.")])
@pytest.mark.parametrize("work", ["_encode", "_decode"])
def test_what_the_codec_refuses_is_left_to_the_inversion(
    moving: Moving, monkeypatch: pytest.MonkeyPatch, refused: Exception, work: str
) -> None:
    codec = Accelerated(100)

    def refuse(rows: Tensor) -> Tensor:
        raise refused

    monkeypatch.setattr(codec, work, refuse)
    assert Placement(codec, Anderson, STOPPING).on_host(torch.zeros(SHAPE))


class Chunks(ChunkData):
    """Given images as chunks."""

    def __init__(self, *chunks: Tensor) -> None:
        super().__init__()
        self.images = chunks

    @property
    def total(self) -> int:
        return sum(map(len, self.images))

    def chunks(self, codec: Codec) -> Iterator[Batch]:
        for index, image in enumerate(self.images):
            yield Batch(image, tuple(f"{index}-{row}" for row in range(len(image))))


class Recording(DecoderInversion):
    """Keep what chunks come to."""

    def on_train_epoch_end(self) -> None:
        if self.batch is not None:
            self.found = [*getattr(self, "found", []), self.batch.image, self.result.latent, self.reconstruction]


def test_an_inversion_solves_on_the_host_what_does_not_fit(images: Callable[..., Tensor], moving: Moving) -> None:
    chunks, found = [images(SHAPE[0], *SHAPE[2:]), images(2, 8, 8)], []
    for codec in (Accelerated(0.001), LinearCodec()):
        module, memory = Recording(codec, max_iters=20), Memory()
        options = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        trainer = Trainer(accelerator="cpu", max_epochs=-1, callbacks=[memory], **options)
        trainer.fit(module, datamodule=Chunks(*chunks))
        found.append(module.found)
        assert memory.peak_mib is not None
    assert len(found[0]) == 6
    for hosted, plain in zip(*found, strict=True):
        assert type(hosted) is Tensor
        assert torch.equal(hosted, plain)
    assert len(moving.moved) > 2 * 10


def test_a_chunk_is_moved_to_where_it_is_solved(images: Callable[..., Tensor], moving: Moving) -> None:
    batch = Batch(images(SHAPE[0], *SHAPE[2:]), ("a",) * len(images(SHAPE[0], *SHAPE[2:])))
    for mib, place in ((1000, DEVICE), (0.001, HOST)):
        module = DecoderInversion(Accelerated(mib))
        module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
        assert module.place(batch, DEVICE) == place


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_the_state_of_a_long_clip_is_not_on_the_device(saved: Callable[[str], Any], images: Any) -> None:
    clip = as_clips(images(33, 64, 64), 33)
    peaks, latents = [], []
    for mib in (None, 1.0):
        codec = AutoencoderCodec(str(saved("wan")), memory_mib=mib).cuda()
        codec.decode(codec.encode(clip.to("cuda" if mib is None else "cpu")))  # warnings, and workspaces of libraries
        with PeakMemory("cuda") as peak:
            latents.append(invert(clip, codec, max_iters=25, patience=None).latent)
        peaks.append(peak.bytes)
    assert peaks[0] - peaks[1] > 15 * clip.nbytes
    assert latents[1].is_cuda
    torch.testing.assert_close(latents[0], latents[1], rtol=0, atol=1e-3)
