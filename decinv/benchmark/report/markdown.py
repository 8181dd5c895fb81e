"""The Markdown that benchmarks write, as HTML: headings, paragraphs, tables, and lists that explain a table's columns."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from decinv.benchmark.report.html import details, inline, table


def to_html(text: str) -> str:
    """Give Markdown as HTML.

    Headings come one level lower, below a report's own; a list after a table is its legend and shown when asked for. Anything
    else of Markdown stays as it is written.
    """
    return "".join(_blocks([line.rstrip() for line in text.splitlines()]))


def _blocks(lines: Sequence[str]) -> Iterator[str]:
    after_table = False
    for kind, group in groupby(lines, key=_kind):
        block = list(group)
        if kind == "heading":
            yield from (f"<h3>{inline(line.lstrip('# '))}</h3>" for line in block)
        elif kind == "table":
            yield _table(block)
        elif kind == "list":
            items = "".join(f"<li>{inline(line[2:])}</li>" for line in block)
            yield details("what the columns mean", f"<ul>{items}</ul>") if after_table else f"<ul>{items}</ul>"
        elif kind == "text":
            yield f"<p>{inline(' '.join(block))}</p>"
        after_table = kind == "table" or (after_table and kind == "blank")


def _kind(line: str) -> str:
    if not line:
        return "blank"
    starts = {"#": "heading", "|": "table", "- ": "list"}
    return next((kind for start, kind in starts.items() if line.startswith(start)), "text")


def _table(lines: Sequence[str]) -> str:
    cells = [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]
    rows = [row for row in cells[1:] if not all(set(cell) <= set("-:") and cell for cell in row)]
    return table(cells[0], rows, len(rows), inline)
