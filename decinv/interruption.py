"""Signals that end a run early, as one exception in the main thread."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C; what schedulers and ``kill`` send; what SLURM sends ahead of a time limit where it is asked to."""


AGAIN = 0.05
"""Seconds until a signal is given again whose exception was lost."""


class Interrupted(BaseException):
    """The process was asked to end. No ``Exception``, so that nothing takes it for a failure and goes on.

    Attributes:
        signum: The signal.
        advice: How to go on.
    """

    def __init__(self, signum: int, advice: str = "") -> None:
        """Keep the signal, and how to go on if that is known."""
        super().__init__(signum)
        self.signum = signum
        self.advice = advice

    def __str__(self) -> str:
        """Say what happened and how to go on."""
        return f"interrupted by {signal.Signals(self.signum).name}; {self.advice or 'the run had not begun'}."

    @property
    def exit_status(self) -> int:
        """What a shell reports of a process that this signal ended: 128 + its number."""
        return 128 + self.signum


def ignore_signals(worker: int) -> None:
    """Let a worker process leave ``SIGNALS``, which shells and schedulers send to all processes, to the one that started it."""
    del worker
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``Interrupted`` in the main thread at the first of ``SIGNALS``.

    Whoever asks a second time from the keyboard is obeyed at once: the process ends without cleaning up. Other signals that
    follow the first one are ignored, since schedulers and launchers send several. Outside of the main thread, where Python
    lets no handler be installed, this does nothing.

    Python drops what is raised while an object is finalised, as tensors are all the time; the signal is given again then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = False
    again: threading.Timer | None = None

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal ending
        if not ending:
            ending = True
            raise Interrupted(signum)
        if signum == signal.SIGINT:
            os._exit(128 + signum)

    def repeat(signum: int) -> None:
        nonlocal ending
        ending = False
        os.kill(os.getpid(), signum)

    def look_at_dropped(dropped: "UnraisableHookArgs") -> None:
        nonlocal again
        if not isinstance(dropped.exc_value, Interrupted):
            before_drops(dropped)
            return
        again = threading.Timer(AGAIN, repeat, (dropped.exc_value.signum,))
        again.start()

    before = {signum: signal.signal(signum, handle) for signum in SIGNALS}
    before_drops, sys.unraisablehook = sys.unraisablehook, look_at_dropped
    try:
        yield
    finally:
        if again is not None:
            again.cancel()
        sys.unraisablehook = before_drops
        for signum, handler in before.items():
            signal.signal(signum, handler)
