"""Freed memory of the host is kept for the next tensors of the same shape, and given back for those of another."""

import ctypes
import platform
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer

from decinv.batch import Batch
from decinv.codecs import LinearCodec
from decinv.host_memory import LARGEST, MMAP_MAX, MMAP_THRESHOLD, OWN_CHOICES, TRIM_THRESHOLD, HostMemory
from decinv.memory import MIB
from decinv.modules import DecoderInversion

BLOCK = 64 * MIB
PAGE = resource.getpagesize()

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> HostMemory:
    for name in OWN_CHOICES:
        monkeypatch.delenv(name, raising=False)
    return HostMemory()


def _faults_of_touching_a_block() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(BLOCK, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def test_a_block_as_large_as_a_freed_one_takes_no_new_pages(memory: HostMemory) -> None:
    assert memory.keep()
    faults = [_faults_of_touching_a_block() for _ in range(5)]  # the first ones find their places
    assert min(faults) < BLOCK / PAGE / 100


def test_what_another_shape_left_goes_back_to_the_system(memory: HostMemory) -> None:
    memory.turn_to((4, 3, 64, 64))
    _faults_of_touching_a_block()
    kept = _resident()
    memory.turn_to((4, 3, 64, 64))
    assert _resident() > kept - BLOCK / 2
    memory.turn_to((1, 3, 64, 64))
    assert _resident() < kept - BLOCK / 2


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), ()])
def test_what_loading_left_goes_back_to_the_system(memory: HostMemory, shape: tuple[int, ...]) -> None:
    """Weights of 64 MiB, cast to half of that: between the halves are gaps."""
    assert memory.keep()
    memory.give_back()
    before = _resident()
    weights = [torch.ones(2 * MIB) for _ in range(BLOCK // (8 * MIB))]
    cast = [weight.half() for weight in weights]
    del weights
    assert _resident() - before > BLOCK
    memory.turn_to(shape)
    assert _resident() - before < BLOCK
    assert sum(weight.nbytes for weight in cast) == BLOCK / 2


@pytest.mark.parametrize(("device", "shape"), [("cpu", (2, 3, 16, 16)), ("meta", ())])
def test_a_run_keeps_for_chunks_on_the_host_alone(monkeypatch: pytest.MonkeyPatch, device: str, shape: tuple[int, ...]) -> None:
    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr("decinv.modules.base.HOST_MEMORY", SimpleNamespace(turn_to=lambda shape: shapes.append(tuple(shape))))
    module = DecoderInversion(LinearCodec())
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    monkeypatch.setattr(module, "place", lambda batch, device_of_trainer: torch.device(device))
    monkeypatch.setattr(module.codec, "try_out", lambda image: None)
    module.transfer_batch_to_device(Batch(torch.zeros(2, 3, 16, 16), ("a", "b")), torch.device("cpu"), 0)
    assert shapes == [shape]


@pytest.mark.parametrize("name", OWN_CHOICES)
def test_who_tells_glibc_by_its_own_variables_is_left_alone(
    memory: HostMemory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "")
    assert not memory.keep()
    memory.turn_to((1,))
    memory.turn_to((2,))  # gives nothing back, and calls nothing


def test_nothing_is_kept_where_address_space_is_limited(memory: HostMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (2**32, 2**32))
    assert not memory.keep()


class OldLibrary:
    """What older versions of glibc answer: they take no block's size above 32 MiB."""

    def __init__(self) -> None:
        self.told: dict[int, int] = {}

    def mallopt(self, parameter: int, value: int) -> int:
        if parameter == MMAP_THRESHOLD and value > 32 * MIB:
            return 0
        self.told[parameter] = value
        return 1


def test_older_versions_take_no_blocks_from_the_system(memory: HostMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    library = OldLibrary()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert memory.keep()
    assert library.told == {MMAP_MAX: 0, TRIM_THRESHOLD: LARGEST}


def test_nothing_is_told_where_blocks_are_not_kept(memory: HostMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """To keep what is free alone would have each larger block handed back."""
    told: list[int] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda parameter, value: told.append(parameter)))
    assert not memory.keep()
    assert told == [MMAP_THRESHOLD, MMAP_MAX]


def test_a_library_without_the_function_is_left_alone(memory: HostMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not memory.keep()
    memory.turn_to((1,))
    memory.give_back()


def test_another_c_library_is_left_alone(memory: HostMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep()
