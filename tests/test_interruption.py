"""A signal ends a run, whatever Python is doing when it comes."""

import os
import signal
import sys
import time

import pytest

from decinv.interruption import Interrupted, interruptible


class AskedAtItsEnd:
    """What is being finalised while the process is asked to end."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)


def test_a_signal_while_an_object_is_finalised_is_not_lost() -> None:
    before = sys.unraisablehook

    def work() -> None:
        AskedAtItsEnd()
        AskedAtItsEnd()
        time.sleep(10)

    with pytest.raises(Interrupted) as caught, interruptible():
        work()
    assert caught.value.signum == signal.SIGTERM
    assert sys.unraisablehook is before


class Broken:
    """What cannot be finalised."""

    def __del__(self) -> None:
        raise ValueError


def test_other_exceptions_of_finalisers_are_told_of_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: told.append(type(dropped.exc_value)))
    with interruptible():
        Broken()
    assert told == [ValueError]
