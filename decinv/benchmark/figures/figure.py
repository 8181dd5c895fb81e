"""What the figures of all benchmarks have in common: colours, markers, headings, and axes for quality against cost."""

from collections.abc import Iterator
from itertools import cycle

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from decinv.callbacks.sheet import plain

COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"),
    *("#882255", "#999933", "#332288", "#44AA99", "#CC6677", "#117733"),
)
"""Colours that people with any colour vision can tell apart (Okabe and Ito, 2008; Tol, 2021); markers tell lines apart too."""

MARKERS = ("s", "^", "D", "v", "P", "X", "p", "<", ">")


def looks() -> Iterator[tuple[str, str]]:
    """Give colours with markers, without end; the first 36 differ."""
    return zip(cycle(COLOURS), cycle(MARKERS), strict=False)


def head(figure: Figure, title: str, caption: str) -> None:
    """Write a bold line, and the caption in grey below it, above a figure of several panels in constrained layout."""
    figure.suptitle(plain(f"\n{caption}"), x=0.01, ha="left", fontsize=9, color="0.35", linespacing=1.4)
    top = 1 - rcParams["figure.constrained_layout.h_pad"] / figure.get_figheight()
    figure.text(0.01, top, title, ha="left", va="top", fontsize=12, fontweight="bold")


def open_up(axes: Axes) -> None:
    """Put a light grid behind what is drawn, and leave the frame open above and on the right."""
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def dress(axes: Axes, cost: str, quality: str) -> None:
    """Scale and name axes for quality, lower is better, against a cost on a logarithmic axis.

    Args:
        axes: The axes.
        cost: Name and unit of the cost.
        quality: Name and unit of the quality; empty for axes that share their neighbour's.
    """
    axes.set_xscale("log")
    axes.margins(y=0.07)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{cost}, log scale")
    axes.set_ylabel(quality and f"{quality}, lower is better")
    open_up(axes)
    axes.tick_params(length=3, color="0.6")
