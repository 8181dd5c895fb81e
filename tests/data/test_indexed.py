"""Inputs by number: what is done is left out, chunk by chunk, and the rest comes in the same chunks."""

import pytest
import torch

from decinv.batch import Failure
from decinv.codecs import LinearCodec
from decinv.data import IndexedData
from decinv.data.buckets import Sample
from decinv.rows import Row
from decinv.runs import Input, RunDirectory, Share
from decinv.status import Status

CODEC = LinearCodec()


class Numbers(IndexedData):
    """Images of two sizes; every seventh cannot be loaded."""

    def __init__(self, count=20, batch_size=2, block=8, shard="0/1", workers=2):
        super().__init__(batch_size, shard, block, workers)
        self.count = count
        self.loaded = []

    def list_inputs(self):
        return [Input(number, f"image {number}") for number in range(self.count)]

    def load(self, item, codec):
        self.loaded.append(item.number)
        if item.number % 7 == 6:
            return Failure(item.name, "It is the seventh.")
        side = 4 if item.number % 3 else 8
        return Sample(item.name, torch.full((3, side, side), item.number / 100), (side, side))


def numbers(data):
    return [batch.numbers for batch in data.chunks(CODEC)]


def finish(run, done):
    run.append(Share(), [Row(f"image {number}", Status.CONVERGED, number=number) for number in done])


def test_chunks_within_blocks():
    data = Numbers()
    batches = list(data.chunks(CODEC))
    assert [batch.numbers for batch in batches] == [
        *[(1, 2), (0, 3), (4, 5), (7,)],
        *[(8, 10), (9, 12), (11, 14), (15,)],
        *[(16, 17), (18,), (19,)],
    ]
    assert sorted(failure.number for batch in batches for failure in batch.failures) == [6, 13]
    assert sorted(data.loaded) == list(range(20))
    for batch in batches:
        assert batch.names == tuple(f"image {number}" for number in batch.numbers)
        assert [round(float(image[0, 0, 0]) * 100) for image in batch.image] == list(batch.numbers)


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_processes_share_the_same_chunks(processes):
    parts = [Numbers(shard=f"{index}/{processes}") for index in range(processes)]
    found = [chunk for part in parts for chunk in numbers(part)]
    assert sorted(found) == sorted(numbers(Numbers()))
    assert sum(part.total for part in parts) == 20


def test_what_is_done_is_not_loaded_and_chunks_stay_as_they_were(tmp_path):
    data = Numbers()
    data.run = RunDirectory(tmp_path)
    data.setup("fit")
    finish(data.run, [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 8, 13])
    data.setup("fit")
    assert numbers(data) == [(8, 10), (11, 14), (15,), (16, 17), (18,), (19,)]
    assert min(data.loaded) == 8
    assert (data.total, data.finished) == (20, 12)
    assert [failure for batch in data.chunks(CODEC) for failure in batch.failures] == []
    finish(data.run, [number for number in range(20) if number != 13])
    other = Numbers(shard="1/3")
    other.run = data.run
    other.setup("fit")
    assert (numbers(other), other.total, other.finished) == ([], 8, 8)


def test_the_first_list_of_a_run_counts(tmp_path):
    first = Numbers(count=3)
    first.run = RunDirectory(tmp_path)
    first.setup("fit")
    later = Numbers(count=9)
    later.run = first.run
    later.setup("fit")
    assert [item.name for item in later.inputs] == ["image 0", "image 1", "image 2"]


def test_wrong_options():
    for option, value, low in (("batch_size", 0, 1), ("block", 0, 1), ("workers", -1, 0)):
        with pytest.raises(ValueError, match=f"`{option}` to be at least {low}, but got {value}"):
            Numbers(**{option: value})
    with pytest.raises(ValueError, match="`shard` to be i/n"):
        Numbers(shard="2/2")


def test_what_was_listed_ahead_is_not_listed_again(tmp_path):
    data = Numbers()
    data.run = RunDirectory(tmp_path / "run")
    data.list_ahead()
    data.count = 3
    assert len(data.inputs) == 20
    data.run = RunDirectory(tmp_path / "other")
    data.setup("fit")
    assert len(data.inputs) == 3


def test_each_input_is_one_process_own():
    for index in range(3):
        data = Numbers(shard=f"{index}/3")
        list(data.chunks(CODEC))
        assert [number for number in range(20) if data.owns(number)] == sorted(data.loaded)
