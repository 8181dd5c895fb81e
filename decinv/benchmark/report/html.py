"""The pieces of a report's page."""

import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

STYLE = Path(__file__).with_name("report.css")

LONG = 80
"""Letters above which the text of a cell is broken into lines; a prompt may have thousands."""

NUMBER = re.compile(r"[+-]?(\d[\d.]*(e[+-]?\d+)?|inf|nan)(?=[\s%]|$)")
"""A number, or one with a unit behind it; names such as ``0001.png``, and keys that begin with a digit, are none."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What the browser may load: pictures within the page, its own style, nothing from anywhere."""


class Section(NamedTuple):
    """What a page shows of one directory.

    Attributes:
        title: Its name.
        kind: What wrote it.
        parts: Its content, HTML.
    """

    title: str
    kind: str
    parts: Sequence[str]


class Picture(NamedTuple):
    """A picture within the page.

    Attributes:
        source: Its content, a ``data:`` address.
        name: What is written below it.
        width: Its width in pixels.
        height: Its height in pixels.
    """

    source: str
    name: str
    width: int
    height: int

    @property
    def kinds(self) -> list[str]:
        """How the style shows it."""
        kinds = {"wide": self.width > 1.3 * self.height, "tiny": max(self.width, self.height) <= 128}
        return [kind for kind, is_so in kinds.items() if is_so]


def page(title: str, sections: Sequence[Section]) -> str:
    """Give a whole HTML document."""
    places = [f"part-{index}" for index in range(1, len(sections) + 1)]
    links = "".join(f'<a href="#{place}">{escape(section.title)}</a>' for place, section in zip(places, sections, strict=True))
    body = "".join(
        f'<section id="{place}"><h2>{escape(section.title)} <small>{escape(section.kind)}</small></h2>'
        f"{''.join(section.parts)}</section>\n"
        for place, section in zip(places, sections, strict=True)
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n"
        f"<header><h1>{escape(title)}</h1><nav>{links}</nav></header>\n<main>\n{body}</main>\n</html>\n"
    )


def escape(text: str) -> str:
    """Give text as HTML shows it."""
    return html.escape(text)


def inline(text: str) -> str:
    """Give a line of text with ``**bold**`` and code in backquotes as HTML."""
    shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", shown)


def number(cell: str) -> str:
    """Write a number that is no integer for readers, with four significant digits; other text stays as it is.

    Exponents have a sign, as Python writes them: 16 hexadecimal digits of a key such as 12345678901234e5 are no number.
    """
    return f"{float(cell):.4g}" if re.fullmatch(r"[+-]?\d+(\.\d+(e[+-]\d+)?|e[+-]\d+)", cell) else cell


def table(header: Sequence[str], rows: Sequence[Sequence[str]], total: int, show: Callable[[str], str] = escape) -> str:
    """Give a table that scrolls sideways on its own, its columns of numbers flush right.

    Args:
        header: Titles of the columns.
        rows: Cells.
        total: Number of rows there are; those that are not given are counted below.
        show: Gives the text of a cell as HTML; ``inline`` where it is Markdown.
    """
    columns = len(header)
    right = [_numeric([row[i] for row in rows if i < len(row)]) for i in range(columns)]

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ("long" if len(cell) > LONG else "n" if right[i] else "" for i, cell in enumerate(cells[:columns]))
        shown = (
            f"<{tag}{kind and f' class={kind}'}>{show(cell)}</{tag}>" for kind, cell in zip(kinds, cells[:columns], strict=True)
        )
        return f"<tr>{''.join(shown)}</tr>\n"

    more = f"<p class=more>{total - len(rows)} more rows are not shown.</p>" if total > len(rows) else ""
    body = "".join(line(row, "td") for row in rows)
    return f"<div class=table tabindex=0><table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table></div>{more}"


def figure(picture: Picture) -> str:
    """Give a figure, as wide as the page at most; on a phone a wide one scrolls sideways on its own."""
    name = escape(picture.name)
    return f'<figure{_class(picture.kinds)}><img src="{picture.source}" alt="{name}"><figcaption>{name}</figcaption></figure>'


def sheet(title: str, pictures: Sequence[Picture], total: int, large: bool = False) -> str:
    """Give a contact sheet, with the number of pictures there are; ``large`` for pictures that hold several.

    Its columns are wide if most of the pictures are.
    """
    items = "".join(figure(picture) for picture in pictures)
    counted = f"{len(pictures)} of {total}" if total > len(pictures) else str(total)
    wide = ["wide"] if sum("wide" in picture.kinds for picture in pictures) > len(pictures) / 2 else []
    kinds = ["sheet", "large"] if large else ["sheet", *wide]
    return f"<h3>{escape(title)} <small>{counted}</small></h3><div{_class(kinds)}>{items}</div>"


def details(title: str, content: str) -> str:
    """Give content that is shown when asked for."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def note(text: str) -> str:
    """Give a sentence about what could not be shown."""
    return f"<p class=note>{escape(text)}</p>"


def _numeric(cells: Sequence[str]) -> bool:
    known = [cell.strip("* ") for cell in cells if cell.strip()]
    return bool(known) and sum(bool(NUMBER.match(cell)) for cell in known) > len(known) / 2


def _class(names: Sequence[str]) -> str:
    return f' class="{" ".join(names)}"' if names else ""
