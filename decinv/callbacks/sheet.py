"""Sheets of pictures: rows of panels with headings above and labels below."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import NamedTuple

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from decinv.images.eight_bit import to_picture

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""A font with wide coverage that comes with matplotlib."""

GAP = 8
SMALLEST, LARGEST = 192, 768
"""Sides of a panel in pixels: smaller ones are enlarged by a whole factor, larger ones reduced."""
NARROWEST = 128
"""Width of a column in pixels at least, for what is written below a narrow panel."""


class SheetRow(NamedTuple):
    """A row of a sheet.

    Attributes:
        heading: What stands above it.
        panels: Images ``(3, H, W)`` in [-1, 1] of one size by their labels.
    """

    heading: str
    panels: Mapping[str, Tensor]


def draw_sheet(rows: Sequence[SheetRow]) -> Image.Image:
    """Draw rows of as many panels each, at least one."""
    pictures = [[panel(image) for image in row.panels.values()] for row in rows]
    wide, tall = pictures[0][0].size
    side = max(wide, NARROWEST)
    size = max(11, min(20, side // 24))
    font = ImageFont.truetype(FONT, size)
    head, foot = 2 * size + GAP, 2 * size
    across = len(pictures[0])
    sheet = Image.new("RGB", (across * side + (across + 1) * GAP, len(rows) * (head + tall + foot)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (row, line) in enumerate(zip(rows, pictures, strict=True)):
        top = place * (head + tall + foot)
        heading = printable(row.heading)
        pen.text((GAP, top + head // 2), fitting(heading, font, sheet.width - 2 * GAP), "black", font, anchor="lm")
        for index, (label, picture) in enumerate(zip(row.panels, line, strict=True)):
            left = GAP + index * (side + GAP)
            sheet.paste(picture, (left + (side - wide) // 2, top + head))
            middle = left + side // 2, top + head + tall + foot // 2
            pen.text(middle, fitting(label, font, side), "black", font, anchor="mm")
    return sheet


def panel(image: Tensor, smallest: int = SMALLEST, largest: int = LARGEST) -> Image.Image:
    """Give an image ``(3, H, W)`` in [-1, 1] as a picture whose longer side, in pixels, is one to look at."""
    picture = Image.fromarray(to_picture(image))
    longest = max(picture.size)
    if longest > largest:
        return picture.resize([max(1, round(v * largest / longest)) for v in picture.size], Image.Resampling.LANCZOS)
    factor = -(-smallest // longest)
    return picture.resize([v * factor for v in picture.size], Image.Resampling.NEAREST)


def printable(text: str) -> str:
    """Put spaces for what has no picture: ends of lines, control characters, and bytes that are no text."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def plain(text: str) -> str:
    """Give text so that matplotlib takes no part of it, such as the name of a directory, for a formula."""
    return text.replace("$", r"\$")


def fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Shorten ``text`` in its middle until it fits."""

    def short(kept: int) -> str:
        return text if kept == len(text) else f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"

    possible = range(min(2, len(text)), len(text) + 1)
    most = bisect_right(possible, width, key=lambda kept: ceil(font.getlength(short(kept))))
    return short(possible[max(0, most - 1)])
