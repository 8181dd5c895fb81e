"""Listing images and videos: a directory, one file, a glob or a manifest becomes a sequence of named paths."""

import csv
import glob
import io
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from decinv.data.shipped import CLIPS, SAMPLES
from decinv.images.reading import SUFFIXES
from decinv.runs import Input
from decinv.runs.latents import METADATA

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".mpg", ".mpeg", ".mts", ".wmv", ".flv", ".ogv", ".3gp", ".y4m"}
)
"""Files that count as videos in a directory, in lower case; upper case counts too."""


@dataclass(frozen=True)
class _Kind:
    """What is listed.

    Attributes:
        name: What one is called.
        suffixes: Those of its files.
        samples: The directory of the package's.
        folders: Whether a directory that has images, and no file of these suffixes, is one, too.
    """

    name: str
    suffixes: frozenset[str]
    samples: Path
    folders: bool = False


IMAGES = _Kind("image", SUFFIXES, SAMPLES)
VIDEOS = _Kind("video", VIDEO_SUFFIXES, CLIPS, folders=True)


def list_images(root: str) -> tuple[Input, ...]:
    """List images, each with its absolute path and a unique name, which is a relative posix path without ``..``.

    ``root`` is one of these, in this order:

    * a directory: its images by ``SUFFIXES``, at any depth, in the order of their names, hidden files and directories, and
      links to directories, left out; named by their path below it,
    * a manifest: a ``.txt`` file with one path a line (blank lines and lines that begin with # do not count), or a ``.csv``
      file with a column ``path`` and, if wanted, ``name`` and ``prompt``. Paths are relative to the manifest's directory, and
      name the images if nothing else does; those outside of it by the whole path without its root. The order is the
      manifest's. A missing file is listed all the same,
    * any other file, named by its file name,
    * a glob such as ``photos/**/*.png``: what it matches, in the order of their names, relative to the part before the
      first wildcard; ``**`` leaves out what a directory does, and ``*`` hidden files, unless the glob has a name with a dot
      first,
    * the word ``samples``: the sample images of the package.

    Args:
        root: What to list; ``~`` is the home directory.

    Returns:
        The images. The same image twice under one name is listed once, with a warning.

    Raises:
        FileNotFoundError: If there is nothing at ``root``, or no image in it.
        ValueError: If two different images have one name, a name is no relative path, or a manifest cannot be read.
    """
    return _list(root, IMAGES)


def list_videos(root: str) -> tuple[Input, ...]:
    """List videos by the rules of ``list_images``, with ``VIDEO_SUFFIXES``.

    A directory that has images, and no video in it, is one video, whose frames they are; ``root`` itself, if it is one, by its
    own name.

    Args:
        root: What to list; ``~`` is the home directory.

    Returns:
        The videos.

    Raises:
        FileNotFoundError: If there is nothing at ``root``, or no video in it.
        ValueError: If two different videos have one name, a name is no relative path, or a manifest cannot be read.
    """
    return _list(root, VIDEOS)


def _list(root: str, kind: _Kind) -> tuple[Input, ...]:
    path = Path(os.path.abspath(os.path.expanduser(root)))
    if not root:  # as an unset variable of a shell gives it, not the working directory
        entries = []
    elif os.path.isdir(path):  # which is not so, rather than an error, of a name that is none
        entries = _directory(path, kind)
    elif os.path.isfile(path):
        readers = {".txt": _text, ".csv": _table}
        reader = readers.get(path.suffix.lower())
        entries = [Entry(_printable(path.name), str(path))] if reader is None else list(reader(path))
    elif glob.has_magic(str(path)):
        entries = _glob(path, kind)
    elif root == "samples":
        entries = _directory(kind.samples, kind)
    else:
        raise FileNotFoundError(
            f"Expected `root` to be a directory, a manifest (.txt, .csv), a glob or one {kind.name}, but there is nothing at "
            f"{root!r}."
        )
    if not entries:
        raise FileNotFoundError(f"Expected {kind.name}s ({' '.join(sorted(kind.suffixes))}) at {root!r}, but found none.")
    return _unique(entries, root)


class Entry(NamedTuple):
    """What is listed: its name, its path, and its prompt where a manifest has a column of them."""

    name: str
    path: str
    prompt: str | None = None


def _directory(root: Path, kind: _Kind) -> list[Entry]:
    def tell(error: OSError) -> None:
        warnings.warn(f"Leaving out {error.filename!r}, which cannot be listed: {error.strerror}.", stacklevel=2)

    found = []
    suffixes, frames = tuple(kind.suffixes), tuple(SUFFIXES)
    for folder, subfolders, files in os.walk(root, onerror=tell):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        shown = [name for name in files if not name.startswith(".")]
        own = [os.path.join(folder, name) for name in shown if name.lower().endswith(suffixes)]
        if kind.folders and not own and any(name.lower().endswith(frames) for name in shown):
            own = [folder]
        found += own
    return _named(found, root)


def _glob(pattern: Path, kind: _Kind) -> list[Entry]:
    depth = next(number for number, part in enumerate(pattern.parts) if glob.has_magic(part))
    root = Path(*pattern.parts[:depth])
    parts = [part if part == "**" else part.replace("**", "*") for part in pattern.parts[depth:]]
    found = root.glob("/".join([*parts, "*"] if parts[-1] == "**" else parts))
    if not any(part.startswith(".") for part in parts):
        found = (path for path in found if not any(part.startswith(".") for part in path.parts[depth:]))
    return _named((str(path) for path in found if _counts(str(path), kind)), root)


def _counts(path: str, kind: _Kind) -> bool:
    """Whether what a glob matched is meant: any file, and a directory only where it has frames, or cannot be listed."""
    if not os.path.isdir(path):
        return True
    try:
        return kind.folders and any(name.lower().endswith(tuple(SUFFIXES)) for name in os.listdir(path))
    except OSError:
        return True


def _named(paths: Iterable[str], root: Path) -> list[Entry]:
    """Name paths below ``root`` by their part below it, and ``root`` by its own name, in the order of the names."""
    cut = 0 if root == Path() else len(os.path.join(root, ""))
    return sorted(Entry(_printable(path[cut:].replace(os.sep, "/") or root.name), path) for path in paths)


def _text(manifest: Path) -> list[Entry]:
    lines = (line.strip() for line in _read(manifest).split("\n"))
    folder = os.path.abspath(manifest.parent)
    return [_located(line, None, folder) for line in lines if line and not line.startswith("#")]


def _table(manifest: Path) -> list[Entry]:
    rows = csv.DictReader(io.StringIO(_read(manifest), newline=""), skipinitialspace=True, strict=True)
    try:
        columns = list(rows.fieldnames or ())
        if columns.count("path") != 1:
            raise ValueError(
                f"Expected a table with commas and one column 'path' in {str(manifest)!r}, but its columns are {columns}."
            )
        folder = os.path.abspath(manifest.parent)
        prompted = "prompt" in columns
        entries = []
        for row in rows:
            if more := row.get(None):
                raise ValueError(
                    f"Expected {len(columns)} cells in line {rows.line_num} of {str(manifest)!r}, but got {more} behind them; "
                    'put cells with commas between quotation marks, as in "a cat, asleep".'
                )
            path, name, prompt = ((row.get(column) or "").strip() for column in ("path", "name", "prompt"))
            if path:
                entries.append(_located(path, name, folder)._replace(prompt=prompt if prompted else None))
        return entries
    except csv.Error as error:
        raise ValueError(
            f"Expected a table of CSV in {str(manifest)!r}, but got after line {rows.line_num}: {error}; mend it there."
        ) from error


def _read(manifest: Path) -> str:
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:  # a name may hold the end of a line
            return file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected a manifest in UTF-8, but {str(manifest)!r} is not: {error}; save it as UTF-8.") from error


def _located(line: str, name: str | None, folder: str) -> Entry:
    """Find the path of one line of a manifest in ``folder``, and name it after itself where it has no name."""
    path = os.path.normpath(os.path.join(folder, line))
    within = os.path.join(folder, "")
    below = path[len(within) :] if path.startswith(within) else os.path.splitdrive(path)[1].lstrip(os.sep)
    return Entry(name or _printable(below.replace(os.sep, "/")), path)


def _printable(name: str) -> str:
    """Replace the bytes of a file name that are no UTF-8, so that any file can hold the name."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def _unique(entries: list[Entry], root: str) -> tuple[Input, ...]:
    """Check the names, and leave out repeated entries."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        name, path, _ = entry
        if name in ("", ".") or name[0] == "/" or ".." in name.split("/"):
            raise ValueError(f"Expected names that are relative paths without '..', but got {name!r} in {root!r}.")
        if name == METADATA:
            raise ValueError(f"Expected names other than {name!r}, which files of latents keep for themselves, in {root!r}.")
        before = seen.setdefault(name, entry)
        if before.path != path:
            raise ValueError(f"Expected unique names in {root!r}, but {name!r} is the name of {before.path} and {path}.")
        if before != entry:
            raise ValueError(
                f"Expected one prompt of each image in {root!r}, but {name!r} has {before.prompt!r} and {entry.prompt!r}; give "
                "each its own `name`."
            )
        if before is not entry:
            warnings.warn(f"Listing {name!r} once, which {root!r} names more than once.", stacklevel=3)
    return tuple(Input(number, name, path, prompt=prompt) for number, (name, path, prompt) in enumerate(seen.values()))
