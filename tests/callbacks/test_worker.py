"""The worker: order, a bound on what waits, and no lost error."""

import threading

import pytest

from decinv.callbacks.worker import Worker


def test_jobs_are_done_in_order_and_all_before_it_closes():
    done = []
    worker = Worker("test", 2)
    for item in range(20):
        worker.do(lambda item=item: done.append(item))
    worker.close()
    assert done == list(range(20))
    worker.close()


def test_only_so_many_wait():
    gate, started, passed = threading.Event(), threading.Event(), threading.Event()
    worker = Worker("test", 1)
    worker.do(lambda: (started.set(), gate.wait(5)))
    assert started.wait(5)
    worker.do(lambda: None)  # waits
    another = threading.Thread(target=lambda: (worker.do(lambda: None), passed.set()))
    another.start()
    assert not passed.wait(0.1)
    gate.set()
    assert passed.wait(5)
    another.join()
    worker.close()


def test_an_error_comes_out_and_stops_what_follows():
    done = []
    worker = Worker("test", 1)
    worker.do(lambda: 1 // 0)
    worker._thread.join(0.2)  # it lives on, and throws away what still waits
    with pytest.raises(ZeroDivisionError):
        worker.do(lambda: done.append(1))
    with pytest.raises(ZeroDivisionError):
        worker.close()
    assert done == []
