"""One row for each edit of an image: what the table of edits says."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from decinv.runs.table import format_cells, format_row, write_table


class EditRow(NamedTuple):
    """The outcome of one edit; ``None`` is what is not known.

    Attributes:
        name: The image's name.
        edit: Number of the prompt, from 0.
        prompt: The prompt of the edit.
        edited: Part of the image's pixels inside the mask; 1 without a mask.
        background_nmse: NMSE of the edited image against the image itself over the background, a ratio; without a mask all of
            the image is background, and where the mask covers all of it, nothing is known. So it is for the measures below.
        background_psnr_db: PSNR there, dB.
        background_ssim: Structural similarity there; not of images with a side below 11 pixels.
        latent_nmse_db: NMSE of the scaled latent of the edit against the recovered one there, dB.
        lpips: Perceptual distance of the whole images, where it is asked for; not of images with a side below 31 pixels.
        clip_score: CLIP's score of the edited image with its prompt, where it is asked for.
        reason: Why there is no edit; empty if there is one.
    """

    name: str
    edit: int
    prompt: str
    edited: float | None = None
    background_nmse: float | None = None
    background_psnr_db: float | None = None
    background_ssim: float | None = None
    latent_nmse_db: float | None = None
    lpips: float | None = None
    clip_score: float | None = None
    reason: str = ""


REASON = EditRow._fields.index("reason")


def write_edit_rows(path: Path, rows: Iterable[EditRow]) -> None:
    """Write a table of edits."""
    write_table(path, EditRow._fields, map(format_row, rows))


class EditCount(NamedTuple):
    """How many edits there are.

    Attributes:
        total: All of them.
        failed: Those that came to nothing.
    """

    total: int
    failed: int


def merge_edit_rows(paths: Iterable[Path], path: Path) -> EditCount:
    """Put tables of edits together in one; processes may do so at the same time, and the last one has all rows."""
    reasons: Counter[bool] = Counter()

    def lines() -> Iterator[str]:
        for cells in (cells for one in paths for cells in _cells(one)):
            reasons[bool(cells[REASON])] += 1
            yield format_cells(cells)

    write_table(path, EditRow._fields, lines())
    return EditCount(reasons.total(), reasons[True])


def edited(path: Path) -> bool:
    """Whether there is a table of edits, none of which failed."""
    return path.exists() and not any(cells[REASON] for cells in _cells(path))


def _cells(path: Path) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        next(reader, None)
        yield from reader
