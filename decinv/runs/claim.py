"""Who works on a share of a run: a lock of the operating system, which ends with the process that holds it."""

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from decinv.runs.share import Share

PATIENCE = 15.0
"""Seconds for which a process may still end that was asked to, or that lost the one which started it."""

PAUSE = 0.5
"""Seconds between two tries."""


@contextmanager
def claimed(directory: Path, share: Share) -> Iterator[None]:
    """Hold a share of the run in a directory, so that no other process does its work at the same time.

    The lock is on the file ``.I-of-N.lock``, which means nothing by itself where a process that was killed left it: a process
    that ended, by SIGKILL too, holds nothing any more. Where files cannot be locked, as on some network file systems, nothing
    is held or refused.

    Raises:
        ValueError: If another process holds the share, or one with blocks in common, and goes on doing so.
    """
    end = time.monotonic() + PATIENCE
    while True:
        with ExitStack() as files:
            holder = _take(directory, share, files)
            if not holder:
                yield
                return
        if time.monotonic() > end:
            raise ValueError(
                f"Expected to work on the run in {directory} alone, but {holder} does the same work now; wait for it or end "
                "it, or delete that file if its machine was lost."
            )
        time.sleep(PAUSE)


def _take(directory: Path, share: Share, files: ExitStack) -> str:
    """Lock a share until ``files`` are closed, unless somebody holds it or one that overlaps; give who, or an empty text."""
    own = directory / f".{share.label}.lock"
    if holder := _lock(own, files, f"process {os.getpid()} on {socket.gethostname()}"):
        return holder
    for path in directory.glob(".*-of-*.lock"):
        label = re.fullmatch(r"\.(\d+)-of-(\d+)\.lock", path.name)
        if path != own and label and share.overlaps(Share(int(label[1]), int(label[2]))):
            with ExitStack() as briefly:
                if holder := _lock(path, briefly):
                    return holder
    return ""


def _lock(path: Path, files: ExitStack, note: str = "") -> str:
    """Lock a file until ``files`` are closed, and remove it then; give the note of who holds it, if somebody does.

    Args:
        path: The file.
        files: What keeps it.
        note: What is written into it; it is made only where there is something to write.
    """
    with suppress(OSError, ImportError):  # where it cannot be opened, or file system or operating system have no locks
        import fcntl

        while True:
            file = os.open(path, os.O_RDWR | (os.O_CREAT if note else 0), 0o666)
            files.callback(os.close, file)  # which unlocks it; forked processes have no part in such a lock
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                return f"{os.read(file, 1000).decode('utf-8', 'replace') or 'another process'} ({path.name})"
            if _is_there(path, file):  # not removed between the opening and the locking
                break
        files.callback(_remove, path)
        os.ftruncate(file, 0)
        os.write(file, note.encode())
    return ""


def _is_there(path: Path, file: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
