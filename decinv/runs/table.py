"""Tables of results: rows of text that survive a process which dies while it writes them."""

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from decinv.rows import Row
from decinv.runs.atomic import replacing
from decinv.status import Status

HEADER = ",".join(Row._fields) + "\n"


class _Lines:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        """Give the text."""
        return text


_writer = csv.writer(_Lines(), lineterminator="\n")
_quoting = csv.writer(_Lines(), lineterminator="\n", quoting=csv.QUOTE_ALL)


def format_cells(cells: Iterable[str]) -> str:
    """Give the cells of a row as a line of CSV."""
    row = list(cells)
    # Some versions of Python write a carriage return as it is, and cannot read it then.
    line: str = (_quoting if any("\r" in cell for cell in row) else _writer).writerow(row)
    return line


def format_row(row: tuple[object, ...]) -> str:
    """Give a row as a line of CSV: empty cells for what is not known, six digits of numbers, the status by its name."""
    return format_cells(_cell(value) for value in row)


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a table, which is made where it does not exist, in one write; they are on the disk when this returns."""
    content = "".join(map(format_row, rows)).encode("utf-8", "backslashreplace")
    with path.open("ab", buffering=0) as file:
        if file.tell() == 0:
            content = HEADER.encode() + content
        while content:
            content = content[file.write(content) :]
        os.fsync(file.fileno())


def write_table(path: Path, columns: Iterable[str], lines: Iterable[str], shared: bool = True) -> None:
    """Write a whole table, at once or not at all.

    Args:
        path: The table.
        columns: The names of its columns.
        lines: Its rows as ``format_row`` gives them.
        shared: Whether several processes may write it at the same time; the last one stays.
    """
    with replacing(path, shared) as partial, partial.open("wb") as file:
        for line in chain([format_cells(columns)], lines):
            file.write(line.encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())


def read_cells(path: Path) -> Iterator[list[str]]:
    """Read a table's rows as text.

    The end of a table may be torn: a process died, or a disk was full. What is no whole row there is left out.

    Raises:
        ValueError: If the file is no table with these columns, or broken elsewhere than at its end.
    """
    with path.open(newline="\n", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(_whole_lines(file))
        header = next(reader, list(Row._fields))
        if tuple(header) != Row._fields:
            raise ValueError(
                f"Expected a table of results in {path}, but its columns are {', '.join(header)[:200]!a}; move it away, and "
                "what it held is made again."
            )
        torn: list[str] | None = None
        for cells in reader:
            if torn is not None:
                raise ValueError(f"Expected {len(Row._fields)} cells in each row of {path}, but got {torn}; remove that row.")
            if len(cells) != len(Row._fields):
                torn = cells
                continue
            yield cells


def read_rows(path: Path) -> Iterator[Row]:
    """Read a table's rows; see ``read_cells``."""
    return (parse_row(cells) for cells in read_cells(path))


def parse_row(cells: Iterable[str]) -> Row:
    """Turn the cells of one row, as text, into their values."""
    return Row(*(column.parse(cell) for column, cell in zip(COLUMNS, cells, strict=True)))


@dataclass(frozen=True)
class Column:
    """One column: its name and the type of what is known in it."""

    name: str
    kind: type

    def parse(self, cell: str) -> Any:
        """Give the value of a cell; an empty one is ``None`` where that is allowed.

        Raises:
            ValueError: If it is no value of this column.
        """
        if self.kind is str:
            return cell
        if not cell:
            return None
        try:
            return Status[cell] if self.kind is Status else self.kind(cell)
        except (KeyError, ValueError) as error:
            kind = "a status" if self.kind is Status else "a number"
            raise ValueError(f"Expected {kind} in the column {self.name!r} of a table, but got {cell!r}; mend it.") from error


def _columns() -> tuple[Column, ...]:
    hints = get_type_hints(Row)
    kinds = ([kind for kind in get_args(hint) if kind is not NoneType] or [hint] for hint in hints.values())
    return tuple(Column(name, kind[0]) for name, kind in zip(hints, kinds, strict=True))


COLUMNS = _columns()
"""The columns of a table."""


def _whole_lines(file: Iterable[str]) -> Iterator[str]:
    return (line for line in file if line.endswith("\n"))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value.name if isinstance(value, Status) else str(value)
