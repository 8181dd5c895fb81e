"""Dividing inputs among processes: everything once, whoever asks."""

import pytest

from decinv.runs import Share
from decinv.runs.share import block_size


@pytest.mark.parametrize("processes", [1, 2, 3, 16])
@pytest.mark.parametrize("total", [0, 1, 7, 100])
@pytest.mark.parametrize("size", [1, 3, 8, 1000])
def test_every_item_is_in_one_share_and_blocks_do_not_depend_on_the_processes(processes, total, size):
    blocks = dict(pair for index in range(processes) for pair in Share(index, processes).blocks(range(total), size))
    assert sum(len(list(Share(index, processes).blocks(range(total), size))) for index in range(processes)) == len(blocks)
    assert blocks == dict(Share().blocks(range(total), size))
    assert [item for block in sorted(blocks) for item in blocks[block]] == list(range(total))


def test_a_share_of_a_job_is_divided_among_its_processes():
    parts = [Share(index, 3).part(rank, 2) for index in range(3) for rank in range(2)]
    assert parts == [Share(i, 6) for i in range(6)]
    assert Share(2, 6).label == "00002-of-00006"


def test_parsing():
    assert Share.parse("3/16") == Share(3, 16)
    for text in ("16/16", "-1/4", "1", "", "a/b", "1/0", "1/2/3", "0/1 "):
        with pytest.raises(ValueError, match="`shard` to be i/n with 0 <= i < n"):
            Share.parse(text)


@pytest.mark.parametrize(("total", "size"), [(0, 8), (100, 8), (1023, 8), (1024, 16), (10_000, 128), (10**6, 128)])
def test_block_sizes(total, size):
    assert block_size(total, 8) == size
