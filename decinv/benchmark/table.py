"""Tables of measurements: exact as CSV, readable as Markdown and in the terminal, with the best of each group in bold."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, groupby
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

Value = str | int | float | None
"""What a cell holds; ``None`` is an empty cell."""


def refuse_table(out: Path) -> None:
    """Refuse a directory that another benchmark's table is in, and a path that cannot be a directory.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already, or it or what it is in is a file.
    """
    if not next(path for path in (out, *out.parents) if path.exists()).is_dir():
        raise FileExistsError(f"Expected --out to name a directory, but {out} is a file or below one; choose another.")
    if (out / "table.csv").exists():
        raise FileExistsError(f"Expected --out to name a fresh directory, but {out} holds a table.csv already; choose another.")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[Value]]) -> None:
    """Write rows of values at full precision below their header; ``None`` is an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@dataclass(frozen=True)
class Column:
    """How one quantity is shown.

    Attributes:
        key: Its name in the rows and in the CSV file.
        title: Its name for readers.
        meaning: What it is, for the legend; a phrase.
        format: How a value is written for readers, as a format specification.
        best: Which value is the best of a group; ``None`` to mark none.
        missing: What readers see where there is no value.
        detail: Whether it is left to the files, for a terminal has not so many columns.
    """

    key: str
    title: str
    meaning: str
    format: str = ""
    best: Literal["lowest", "highest"] | None = None
    missing: str = ""
    detail: bool = False

    def text(self, value: Value) -> str:
        """Write one value."""
        return self.missing if value is None else format(value, self.format)


class Table:
    """Rows of values under columns; neighbouring rows with the same first values are a group."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Mapping[str, Value]], leading: int = 1) -> None:
        """Write all cells, and find the best of each group.

        Args:
            columns: The columns.
            rows: The rows, each with one value for the key of every column.
            leading: How many columns, from the first on, tell the groups, at least 1.
        """
        self.columns = columns
        self.rows = rows
        keys = [column.key for column in columns[:leading]]
        self.groups = [list(group) for _, group in groupby(rows, key=lambda row: [row[key] for key in keys])]

    def write_csv(self, path: Path) -> None:
        """Write every value at full precision, under the columns' keys."""
        keys = [column.key for column in self.columns]
        write_csv(path, keys, ([row[key] for key in keys] for row in self.rows))

    def write(self, out: Path, above: str = "", below: str = "") -> None:
        """Write table.csv and table.md into a directory, which is made where there is none.

        Args:
            out: The directory.
            above: What table.md says before the table, Markdown.
            below: What it says after the legend.
        """
        out.mkdir(parents=True, exist_ok=True)
        self.write_csv(out / "table.csv")
        (out / "table.md").write_text(above + self.markdown() + below, encoding="utf-8")

    def markdown(self) -> str:
        """Give the table as aligned Markdown, with a legend of its columns."""
        titles = [column.title for column in self.columns]
        rows = [[(text.replace("|", r"\|"), bold) for text, bold in row] for group in self.groups for row in self._cells(group)]
        cells = [[f"**{text}**" if bold else text for text, bold in row] for row in rows]
        # Two at least, for the rule below a title: Markdown knows no table with a rule of a colon alone.
        widths = [max(2, *(len(text) for text in texts)) for texts in zip(titles, *cells, strict=True)]
        left = [isinstance(self.rows[0][column.key], str) for column in self.columns]

        def line(texts: Sequence[str]) -> str:
            padded = (t.ljust(w) if flush else t.rjust(w) for t, w, flush in zip(texts, widths, left, strict=True))
            return f"| {' | '.join(padded)} |"

        rule = ["-" * w if flush else "-" * (w - 1) + ":" for w, flush in zip(widths, left, strict=True)]
        legend = [f"- **{column.title}**: {column.meaning}." for column in self.columns]
        return "\n".join([line(titles), line(rule), *map(line, cells), "", *legend, ""])

    def print(self) -> None:
        """Print the table to the terminal but for details, a line between groups."""
        table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1))
        shown = [not column.detail for column in self.columns]
        for column in compress(self.columns, shown):
            table.add_column(column.title, justify="left" if isinstance(self.rows[0][column.key], str) else "right")
        for group in self.groups:
            for row in self._cells(group):
                table.add_row(*(Text(text, "bold green" if bold else "") for text, bold in compress(row, shown)))
            table.add_section()
        console = Console()
        (console if console.is_terminal else Console(width=200)).print(table)

    def _cells(self, group: Sequence[Mapping[str, Value]]) -> list[list[tuple[str, bool]]]:
        """Write the cells of one group, each with whether it is the best; where all look alike, none is."""
        written = []
        for column in self.columns:
            texts = [column.text(row[column.key]) for row in group]
            best = self._best(column, group) if len(set(texts)) > 1 else None
            written.append([(text, text == best) for text in texts])
        return [list(row) for row in zip(*written, strict=True)]

    @staticmethod
    def _best(column: Column, group: Sequence[Mapping[str, Value]]) -> str | None:
        """Give the text of a group's best value; ``None`` where the column has none."""
        values = [value for row in group if isinstance(value := row[column.key], int | float) and not math.isnan(value)]
        if column.best is None or not values:
            return None
        return column.text(min(values) if column.best == "lowest" else max(values))
