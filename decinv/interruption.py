"""Signals that end a run early, as one exception in the main thread."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C; what schedulers and ``kill`` send; what SLURM sends ahead of a time limit where it is asked to."""


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
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = False

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal ending
        if not ending:
            ending = True
            raise Interrupted(signum)
        if signum == signal.SIGINT:
            os._exit(128 + signum)

    before = {signum: signal.signal(signum, handle) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
