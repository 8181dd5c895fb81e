"""Freed memory of the host is kept for the next tensors of the same shape, and given back for those of another."""

import platform
import resource
from pathlib import Path

import pytest
import torch

from decinv.host_memory import OWN_CHOICES, HostMemory
from decinv.memory import MIB

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


def test_another_c_library_is_left_alone(memory: HostMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep()
