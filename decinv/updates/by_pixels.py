"""Samples that Anderson acceleration mixes by their pixels alone, from some iteration on."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decinv.updates.books import Books
from decinv.updates.history import History
from decinv.updates.host import squared_lengths, to_host

STUCK = 8
"""Iterations without progress after which a sample counts as stuck."""

FITTED = 0.25
"""Part of its first squared pixel error below which that of a stuck sample must be, to be mixed by its pixels alone."""

LOOSE = 0.1
"""Part of the pull that is taken of such a sample then."""


def forget(history: History, books: Books, residual: Tensor, pixels: int, used: int) -> Books:
    """Let the samples whose residual is taken in another way from here on forget what they remember.

    Args:
        history: The history, which is changed.
        books: The books, which share memory with what is returned.
        residual: The residuals ``(B, N)``.
        pixels: Number of error values that come from pixels; they are the first ones.
        used: Number of slots that are used.
    """
    again = books.stage < 0
    if not np.count_nonzero(again):
        return books
    index = torch.from_numpy(np.flatnonzero(again)).to(residual.device)
    for forgotten in (history.steps, history.drops, history.changes):
        forgotten[index] = 0.0
    history.drops[index, 0] = residual[index]
    squares = squared_lengths(residual)
    books = books._replace(distance=np.where(again, np.where(squares > 0, squares, 1.0), books.distance))
    return mix_by_pixels(history, books, again, pixels, used, 1.0)


def loosen(history: History, books: Books, pixels: int, used: int, first: float) -> Books:
    """Mix the samples that are stuck by their pixels alone from now on, with a weaker prior, and let them begin anew.

    Args:
        history: The history, which is changed.
        books: The books, which share memory with what is returned.
        pixels: Number of error values that come from pixels; they are the first ones, and others follow.
        used: Number of slots that are used.
        first: The squared pixel error that each sample began with, in the units of ``books.size``.
    """
    stuck = books.idle >= STUCK
    if not np.count_nonzero(stuck):
        return books
    size = squared_lengths(history.error[:, :pixels]) * books.unit
    loose = stuck & (size > 0) & (size < FITTED * first)
    books = books._replace(idle=np.where(stuck, 0.0, books.idle))
    return mix_by_pixels(history, books, loose, pixels, used, LOOSE) if np.count_nonzero(loose) else books


def mix_by_pixels(history: History, books: Books, chosen: NDArray[np.bool_], pixels: int, used: int, hold: float) -> Books:
    """Mix some samples by their pixels alone from now on, and let them begin anew.

    Args:
        history: The history, which is changed.
        books: The books, which share memory with what is returned.
        chosen: Whether a sample is one of these, ``(B,)``.
        pixels: Number of error values that come from pixels; they are the first ones.
        used: Number of slots that are used.
        hold: The part of the pull that is taken of them.
    """
    rows = np.flatnonzero(chosen)
    index = torch.from_numpy(rows).to(history.error.device)
    history.drop_latents(index, pixels)
    size = squared_lengths(history.error) * books.unit
    unit = books.unit[:, None, None]
    gram, slopes = books.gram.copy(), books.slopes.copy()
    changes, error = history.changes[index, :used], history.error[index, None]
    gram[rows, :used, :used] = to_host(torch.bmm(changes, changes.mT)) * unit[rows]
    slopes[rows, :used] = (to_host(torch.bmm(changes, error.mT)) * unit[rows])[..., 0]
    return books._replace(
        **{name: np.where(chosen, size, getattr(books, name)) for name in ("size", "first", "doubt", "mark")},
        rate=np.where(chosen, 1.0, books.rate),
        hold=np.where(chosen, hold, books.hold),
        gram=gram,
        slopes=slopes,
    )
