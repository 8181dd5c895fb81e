"""Work ahead: in order, bounded, and with its errors at their places."""

import threading

import pytest

from decinv.data.ahead import map_ahead


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_results_come_in_order(workers):
    barrier = threading.Barrier(2, timeout=5)

    def work(item):
        if workers > 1 and item < 2:
            barrier.wait()  # only passes if two items are worked on at once
        return item * item

    assert list(map_ahead(work, range(50), workers, 8)) == [i * i for i in range(50)]


def test_no_more_is_taken_than_asked_for():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = map_ahead(str, items(), 2, 5)
    assert taken == []
    assert next(results) == "0"
    assert len(taken) == 5
    assert next(results) == "1"
    assert len(taken) == 6
    results.close()
    assert len(taken) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_out_at_its_place(workers):
    results = map_ahead(lambda item: 1 // item, [2, 1, 0, 1], workers, 3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
