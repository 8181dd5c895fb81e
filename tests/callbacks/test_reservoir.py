import numpy as np
import pytest

from decinv.callbacks.reservoir import Reservoir


def filled(capacity, count, seed=0):
    reservoir = Reservoir(capacity, seed)
    for item in range(count):
        reservoir.add(item)
    return reservoir


@pytest.mark.parametrize("count", [0, 1, 5])
def test_all_items_are_kept_up_to_the_bound(count):
    assert filled(5, count).items == list(range(count))


def test_beyond_the_bound_every_item_is_kept_as_often():
    """A count of 3,000 draws with probability 1/4 is within 5 standard deviations, 119, of 750."""
    counts = np.zeros(20)
    for seed in range(3000):
        items = filled(5, 20, seed).items
        assert len(set(items)) == 5
        counts[items] += 1
    assert np.abs(counts - 750).max() < 119


def test_the_same_stream_gives_the_same_sample():
    assert filled(5, 1000).items == filled(5, 1000).items
    assert filled(5, 1000).items != filled(5, 1000, seed=1).items
    assert filled(5, 1000).seen == 1000
