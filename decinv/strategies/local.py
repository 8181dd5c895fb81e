"""The processes of one machine, when nobody else has started them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from lightning import Trainer
from lightning.fabric.strategies.launchers.subprocess_script import _basic_subprocess_cmd
from lightning.pytorch.strategies.launchers.launcher import _Launcher

from decinv.interruption import Interrupted

LAUNCHER = "DECINV_LAUNCHER"
"""Environment variable of a started process: the id of the process that started it."""

RUN_DIRECTORY = "DECINV_RUN_DIRECTORY"
"""Environment variable of a started process: the run directory, which the first process chose."""

FINISHED = (0, 3)
"""Exit statuses of a process that has done its part: without and with images that failed."""


class LocalProcesses(_Launcher):
    """Run the command line again for each further device, with LOCAL_RANK = 1, 2, ...

    A process that dies takes no other with it. When this one is asked to end, so are the others.

    Attributes:
        statuses: Exit statuses of the others by local rank, negative for signals, once they have ended.
    """

    def __init__(self, count: int, node_rank: int) -> None:
        """Start nothing yet.

        Args:
            count: Processes on this machine, this one included.
            node_rank: The machine's number.

        Raises:
            ValueError: In a notebook, which has no command line to run again.
        """
        if hasattr(sys, "ps1"):
            raise ValueError(
                f"Expected one device in an interactive session, but got {count}; run the command in a terminal, "
                "or set `trainer.devices` to 1."
            )
        self.count = count
        self.node_rank = node_rank
        self.statuses: dict[int, int] = {}
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._asked = False

    @property
    def is_interactive_compatible(self) -> bool:
        """Never."""
        return False

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        """Start the others, and do this process's own part."""
        if not self._children:
            self._start("" if trainer is None else trainer.default_root_dir)
        try:
            return function(*args, **kwargs)
        except Interrupted:
            self.kill(signal.SIGTERM)
            raise

    def _start(self, directory: str) -> None:
        # This process's own environment stays as it is: a variable that is left there would change what it starts next.
        environment = {**os.environ, "NODE_RANK": str(self.node_rank), LAUNCHER: str(os.getpid()), RUN_DIRECTORY: directory}
        for rank in range(1, self.count):
            self._children[rank] = subprocess.Popen(_basic_subprocess_cmd(), env={**environment, "LOCAL_RANK": str(rank)})

    def kill(self, signum: int) -> None:
        """Ask the others to end, once: Ctrl-C in a terminal has reached them already."""
        if not self._asked:
            self._asked = True
            for child in self._children.values():
                child.send_signal(signal.SIGTERM)

    def wait(self, report: bool) -> None:
        """Wait until the others have ended.

        Args:
            report: Whether to say on the standard error which of them did not finish.
        """
        known = len(self.statuses)
        try:
            self.statuses = {rank: child.wait() for rank, child in self._children.items()}
        except Interrupted:
            self.kill(signal.SIGTERM)
            raise
        died = [f"process {rank} {_ending(code)}" for rank, code in self.statuses.items() if code not in FINISHED]
        if report and died and len(self.statuses) > known:
            print(
                f"decinv: error: {len(died)} of {self.count} processes did not finish: {', '.join(died)}; run the same command "
                "again, with --out and the run directory: what is done is kept.",
                file=sys.stderr,
            )


def _ending(status: int) -> str:
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"


def end_with_the_launcher() -> None:
    """In a process that ``LocalProcesses`` started, ask this process to end when that one is gone; elsewhere do nothing."""
    launcher = int(os.environ.get(LAUNCHER, 0))
    if not launcher:
        return

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-the-launcher", daemon=True).start()
