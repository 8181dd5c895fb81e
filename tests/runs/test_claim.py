"""A share of a run is the work of one process at a time, and of none that has died."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from decinv.runs import Share, claim
from decinv.runs.claim import claimed

HOLD = """
import sys, time
from pathlib import Path
from types import ModuleType
for package in ("decinv", "decinv.runs"):  # without what they import, which takes ten seconds
    sys.modules[package] = ModuleType(package)
    sys.modules[package].__path__ = [str(Path(sys.argv[3], *package.split(".")))]
from decinv.runs.claim import claimed
from decinv.runs.share import Share
with claimed(Path(sys.argv[1]), Share.parse(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""

Holder = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Holder]:
    """Give a function that starts a process which holds a share."""
    holders = []

    def start(share: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HOLD, str(tmp_path), share, str(Path(claim.__file__).parents[2])]
        holders.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert holders[-1].stdout is not None
        assert holders[-1].stdout.readline() == "held\n"
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "PATIENCE", 0.0)
    monkeypatch.setattr(claim, "PAUSE", 0.01)


def test_a_share_is_held_by_one_process_until_it_dies(tmp_path, hold) -> None:
    holder = hold("1/4")
    for taken in ("1/4", "0/1", "1/2", "3/6", "5/8"):
        with pytest.raises(ValueError, match=rf"but process {holder.pid} on .* does the same work now; wait"):
            claimed(tmp_path, Share.parse(taken)).__enter__()
    for free in ("0/4", "0/2", "2/6"):
        with claimed(tmp_path, Share.parse(free)):
            pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    for free in ("0/1", "1/4"):
        with claimed(tmp_path, Share.parse(free)):
            assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())


def test_it_is_waited_for_a_process_that_ends(tmp_path, hold, monkeypatch) -> None:
    monkeypatch.setattr(claim, "PATIENCE", 60.0)
    holder = hold("0/1")
    before = time.sleep

    def end(seconds: float) -> None:
        holder.kill()
        before(seconds)

    monkeypatch.setattr(time, "sleep", end)
    with claimed(tmp_path, Share()):
        pass


def test_what_one_process_does_again_is_not_refused(tmp_path) -> None:
    for _ in range(2):
        with claimed(tmp_path, Share()):
            pass


def test_a_lock_on_a_file_that_was_removed_counts_for_nothing(tmp_path, monkeypatch) -> None:
    """Its holder ended, and removed it, between the opening and the locking of it by this process."""
    opened = os.open
    path = tmp_path / ".00000-of-00001.lock"

    def open_too_early(*args: object) -> int:
        file = opened(*args)  # type: ignore[arg-type]
        monkeypatch.setattr(os, "open", opened)
        path.unlink()
        return file

    monkeypatch.setattr(os, "open", open_too_early)
    with claimed(tmp_path, Share()):
        assert path.read_text().startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_where_nothing_can_be_locked_nothing_is_refused(tmp_path, place) -> None:
    (tmp_path / "file").touch()
    with claimed(tmp_path / place, Share()):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with claimed(tmp_path, Share()):
        pass
