"""Rows are run in the largest parts that fit, as known sizes show."""

import warnings

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from decinv.codecs.budget import MemoryBudget
from decinv.memory import MIB, PeakMemory

ROW = 1024  # values: 4 KiB


class Doubling:
    """A map that takes two rows' memory for each row, and notes what it is called with."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, rows: Tensor) -> Tensor:
        self.calls.append(len(rows))
        between = rows * 4
        return between / 2


@pytest.mark.parametrize(
    ("fitting", "calls"), [(1, [1, 1, 1, 1, 1]), (1.9, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (4, [4, 1]), (5, [5])]
)
def test_as_many_rows_at_once_as_fit(fitting: float, calls: list[int]) -> None:
    work, rows = Doubling(), torch.arange(5.0 * ROW).view(5, ROW)
    budget = MemoryBudget(fitting * 2 * 4 * ROW / MIB)
    assert torch.equal(budget.run(work, rows), 2 * rows)
    assert work.calls == [1, *calls], "one row is measured"
    work.calls.clear()
    assert torch.equal(budget.run(work, rows[:2]), 2 * rows[:2])
    assert sum(work.calls) == 2, "each size is measured once"


def test_a_row_that_comes_alone_is_measured_as_it_runs() -> None:
    work, budget = Doubling(), MemoryBudget(1)
    budget.run(work, torch.ones(1, ROW))
    budget.run(work, torch.ones(3, ROW))
    assert work.calls == [1, 3]


def test_sizes_maps_and_autocast_are_measured_apart() -> None:
    budget, works = MemoryBudget(1), (Doubling(), Doubling())
    for work in works:
        for columns in (8, 16):
            budget.run(work, torch.ones(2, columns))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            budget.run(work, torch.ones(2, 8))
        assert work.calls == [1, 2] * 3


def test_a_row_above_the_budget_is_told_of_once() -> None:
    work, budget = Doubling(), MemoryBudget(0.001)
    with pytest.warns(UserWarning, match=r"one row of shape \(1024,\) takes 0\.007812 MiB, .* budget of 0\.001 MiB"):
        budget.run(work, torch.ones(2, ROW))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        budget.run(work, torch.ones(2, 2 * ROW))
    assert work.calls == [1, 1, 1] * 2


def test_rows_to_differentiate_are_not_parted() -> None:
    work, budget = Doubling(), MemoryBudget(0.001)
    rows = torch.ones(3, ROW, requires_grad=True)
    budget.run(work, rows).sum().backward()
    assert work.calls == [3]
    assert torch.equal(rows.grad, torch.full_like(rows, 2))


@pytest.mark.parametrize("mib", [0.0, -1.0, float("nan")])
def test_no_memory_is_refused(mib: float) -> None:
    with pytest.raises(ValueError, match="`memory_mib` to be above 0, but got"):
        MemoryBudget(mib)


def test_what_is_reserved_is_left_to_others() -> None:
    work, rows = Doubling(), torch.arange(5.0 * ROW).view(5, ROW)
    budget = MemoryBudget(4 * 2 * 4 * ROW / MIB)
    budget.reserved = 2 * 2 * 4 * ROW
    assert torch.equal(budget.run(work, rows), 2 * rows)
    assert work.calls == [1, 2, 2, 1]
    budget.reserved = 2 * budget.bytes
    work.calls.clear()
    budget.run(work, rows)
    assert work.calls == [1, 1, 1, 1, 1], "one at a time, whatever others take"


def test_rows_of_the_host_are_moved_part_by_part_and_back() -> None:
    """The CPU is the device here, and the meta device the host, as tensors without content can be moved between them."""
    work, budget = Doubling(), MemoryBudget(2.5 * 3 * 4 * ROW / MIB)  # a row takes its copy too
    with FakeTensorMode():
        rows = torch.empty(5, ROW, device="meta")
        with PeakMemory("cpu") as peak:
            result = budget.run(work, rows, torch.device("cpu"))
    assert result.device == rows.device
    assert result.shape == rows.shape
    assert work.calls == [1, 2, 2, 1]
    assert peak.bytes == 2 * 3 * 4 * ROW
