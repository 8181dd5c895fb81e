"""What a report shows of one directory."""

import base64
import csv
import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from decinv.benchmark.report.html import Picture, Section, details, escape, figure, note, number, sheet, table
from decinv.benchmark.report.markdown import to_html
from decinv.metrics.samples import Moments
from decinv.runs.inputs import InputList

PICTURES = (".png", ".jpg", ".jpeg")
THUMBNAIL = 480
"""Largest height of a picture of a contact sheet, and half the largest width, in pixels; figures keep their size, and sheets of
edits may be twice as high."""

SHORT = 20
"""Rows up to which a table is not folded up."""

UNREADABLE = (OSError, ValueError, SyntaxError, csv.Error, Image.DecompressionBombError)
"""What reading a broken file raises; Pillow raises a SyntaxError for a broken PNG."""


def known(path: Path) -> bool:
    """Tell whether a benchmark or a run wrote a directory."""
    return (path / "table.csv").is_file() or (path / "results.csv").is_file()


def describe(path: Path, rows: int, limit: int) -> Section:
    """Give the section of a directory; what cannot be read becomes a note in it.

    Args:
        path: The directory.
        rows: Largest number of rows of a table.
        limit: Largest number of pictures of a folder.
    """
    parts = [
        *_readable(path / "environment.json", _environment),
        *_readable(path / "results.csv", lambda file: _results(file, rows)),
        *itertools.chain.from_iterable(_readable(one, _figure) for one in _pictures(path)),
        *_readable(path / "table.md", lambda file: to_html(file.read_text(encoding="utf-8"))),
    ]
    for file in sorted(path.glob("*.csv")):
        if file.name == "results.csv" or (file.name == "table.csv" and (path / "table.md").is_file()):
            continue
        parts.extend(_readable(file, lambda one: _table(one, rows)))
    for folder in sorted(one for one in path.glob("*") if one.is_dir()):
        parts.extend(_sheet(folder, limit))
    parts.extend(_readable(path / "config.yaml", lambda file: details(file.name, _verbatim(file.read_text("utf-8")))))
    return Section(path.resolve().name, "run" if (path / "results.csv").is_file() else "benchmark", parts)


def _readable(path: Path, show: Callable[[Path], str]) -> Iterator[str]:
    """Give what ``show`` makes of a file; nothing where there is none, and a note where it cannot be read."""
    if not path.is_file():
        return
    try:
        yield show(path)
    except UNREADABLE as error:
        yield note(f"{path.name} cannot be read: {error}")


def _environment(path: Path) -> str:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    try:
        versions = [f"{name} {version}" for name, version in content.get("versions", {}).items()]
        line = " · ".join([str(content.get("device_name", "")), *versions])
    except AttributeError as error:
        raise ValueError("it holds no options and versions") from error
    return f"<p class=where>{escape(line)}</p>" + details("options and environment", _verbatim(json.dumps(content, indent=2)))


def _progress(path: Path, done: int) -> str:
    """Say how many inputs of a run have no row; nothing where all have one."""
    total = len(InputList(path))
    return note(f"This run is not finished: {total - done} of {total} inputs have no row.") if done < total else ""


def _results(path: Path, limit: int) -> str:
    """Summarise a run's table, however long, and show its first rows."""
    counts: Counter[str] = Counter()
    moments: dict[str, Moments] = {}
    total = 0
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for total, row in enumerate(csv.DictReader(file), 1):  # noqa: B007
            counts[row.get("status") or ""] += 1
            for name, cell in row.items():
                if name not in ("name", "number") and isinstance(cell, str) and _is_number(cell):
                    moments.setdefault(name, Moments()).add(float(cell))
    tiles = [("samples", str(total)), *((status or "no status", str(count)) for status, count in counts.most_common())]
    header = ["", "mean", "± 95 %", "lowest", "highest", "values"]
    cells = [
        [name, *(number(str(float(value))) for value in (*one.interval[:2], one.lowest, one.highest)), str(len(one))]
        for name, one in moments.items()
    ]
    left = "".join(_readable(path.with_name("inputs.jsonl"), lambda file: _progress(file, total)))
    shown = "".join(f"<li><b>{escape(count)}</b> {escape(name)}</li>" for name, count in tiles)
    averages = table(header, cells, len(cells)) if cells else ""  # none where no image has a result
    return f"{left}<ul class=tiles>{shown}</ul>{averages}" + details("rows", table(*_rows(path, limit)))


def _rows(path: Path, limit: int) -> tuple[list[str], list[list[str]], int]:
    """Give the header, the first rows, and the number of all rows of a CSV file."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        rows = [[number(cell) for cell in row] for row in itertools.islice(reader, limit)]
        return header, rows, len(rows) + sum(1 for _ in reader)


def _table(path: Path, limit: int) -> str:
    """Show a CSV file, folded up unless it is short or a benchmark's own."""
    header, rows, total = _rows(path, limit)
    shown = table(header, rows, total)
    if path.name == "table.csv":
        return shown
    return f"<h3>{escape(path.name)}</h3>{shown}" if total <= SHORT else details(path.name, shown)


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES)


def _figure(path: Path) -> str:
    with Image.open(path) as image:
        size = image.size
        image.verify()
    return figure(Picture(_address(path.read_bytes(), path.suffix), path.stem.replace("_", " "), *size))


def _sheet(folder: Path, limit: int) -> Iterator[str]:
    """Give the contact sheet of a folder of pictures, in the order of their names.

    Where there are sheets of edits, they stand for the edits and masks beside them, which they show.
    """
    every = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and not path.is_dir())
    sheets = [path for path in every if folder.name == "edits" and path.stem.endswith(".sheet")]
    files, scale = (sheets, 2) if sheets else (every, 1)
    if not files:
        return
    shown, notes = [], []
    for path in files[:limit]:
        try:
            shown.append(_thumbnail(path, scale * THUMBNAIL))
        except UNREADABLE as error:
            notes.append(note(f"{path.name} cannot be read: {error}"))
    yield sheet(folder.name, shown, len(files), large=bool(sheets)) + "".join(notes)


def _thumbnail(path: Path, height: int) -> Picture:
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((2 * THUMBNAIL, height))
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return Picture(_address(file.getvalue(), ".png"), path.stem, *small.size)


def _address(content: bytes, suffix: str) -> str:
    kind = "png" if suffix.lower() == ".png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _is_number(cell: str) -> bool:
    try:
        return not math.isnan(float(cell))
    except ValueError:
        return False


def _verbatim(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"
