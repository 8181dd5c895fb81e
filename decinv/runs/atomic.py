"""Files that are there whole or not at all, whatever happens while they are written."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from decinv.errors import reason


@contextmanager
def replacing(path: Path, shared: bool = False) -> Iterator[Path]:
    """Give a path to write to; what is written there takes the place of ``path`` when all went well.

    Args:
        path: The file.
        shared: Whether several processes may write it at the same time; the last one stays. Otherwise what a killed process
            left is used again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path, uuid4().hex if shared else "")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def create_once(path: Path, content: Iterable[bytes]) -> bool:
    """Write a file, part after part, unless it exists; of processes that try at the same time, one succeeds.

    Returns:
        Whether this call made the file.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path, uuid4().hex)
    try:
        with partial.open("wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            os.replace(partial, path)
        return True
    finally:
        partial.unlink(missing_ok=True)


def create(path: Path, content: bytes, what: str) -> None:
    """Write a file that nothing was in the place of, whole or not at all.

    Args:
        path: The file.
        content: Its content.
        what: What it is, for the sentence that says why it cannot be written.

    Raises:
        FileExistsError: If there is a file already.
        OSError: If none can be written.
    """
    try:
        fresh = create_once(path, [content])
    except OSError as error:
        raise OSError(f"Expected to write {what} to {path}, but got: {reason(error)}; choose another name.") from error
    if not fresh:
        raise FileExistsError(f"Expected a fresh file for {what}, but {path} exists; choose another name.")


def _partial(path: Path, writer: str) -> Path:
    return path.with_name(f".{path.name}.{writer}.part")
