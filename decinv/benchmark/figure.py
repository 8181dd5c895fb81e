"""The figure of a benchmark: quality against cost, one line a method."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
"""Colours that people with any colour vision can tell apart (Okabe and Ito, 2008); markers tell the lines apart as well."""

MARKERS = ("s", "^", "D", "v", "P", "X", "p", "<", ">")


@dataclass(frozen=True)
class Line:
    """One method in the figure; one point draws a level to compare with.

    Attributes:
        label: Its name.
        cost: Costs, one a point, above 0.
        quality: Qualities, one a point.
        notes: What is written at each point; may be empty.
        emphasised: Whether it stands out: the method that the figure is about.
        dashed: Whether its line is dashed, to tell two kinds of methods apart.
    """

    label: str
    cost: Sequence[float]
    quality: Sequence[float]
    notes: Sequence[str] = ()
    emphasised: bool = False
    dashed: bool = False


def draw_pareto(lines: Sequence[Line], cost: str, quality: str, title: str, caption: str, path: Path) -> None:
    """Draw quality, lower is better, against cost on a logarithmic axis.

    Args:
        lines: The methods.
        cost: Name and unit of the cost.
        quality: Name and unit of the quality.
        title: One line that says what the figure shows.
        caption: One line on the conditions.
        path: The PNG file to write.
    """
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    styles = zip(COLOURS * len(lines), MARKERS * len(lines), strict=False)
    for line in lines:
        if len(line.cost) == 1:
            axes.axhline(line.quality[0], color="0.6", linewidth=1, linestyle=(0, (1, 2)), zorder=1)
            axes.plot(line.cost, line.quality, "o", color="0.35", markersize=8, label=line.label, zorder=4)
        elif line.emphasised:
            _draw(axes, line, "black", "o")
        else:
            _draw(axes, line, *next(styles))
    axes.set_xscale("log")
    axes.margins(y=0.08)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.set_xlabel(f"{cost}, log scale")
    axes.set_ylabel(f"{quality}, lower is better")
    axes.grid(which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=3, color="0.6")
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    axes.set_title(caption, loc="left", fontsize=9, color="0.35", pad=12)
    order = sorted(range(len(lines)), key=lambda i: -lines[i].quality[-1])
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        handlelength=3,
        labelspacing=0.9,
    )
    figure.savefig(path, dpi=160)


def head(figure: Figure, title: str, caption: str) -> None:
    """Write a bold line, and the caption in grey below it, above a figure of several panels in constrained layout."""
    figure.suptitle(f"\n{caption}", x=0.01, ha="left", fontsize=9, color="0.35", linespacing=1.4)
    top = 1 - rcParams["figure.constrained_layout.h_pad"] / figure.get_figheight()
    figure.text(0.01, top, title, ha="left", va="top", fontsize=12, fontweight="bold")


def _draw(axes: Axes, line: Line, colour: str, marker: str) -> None:
    """Draw one line with its notes."""
    axes.plot(
        line.cost,
        line.quality,
        color=colour,
        marker=marker,
        markersize=8.5 if line.emphasised else 7,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linewidth=2.8 if line.emphasised else 1.6,
        linestyle=(0, (4, 1.5)) if line.dashed else "-",
        label=line.label,
        zorder=3 if line.emphasised else 2,
    )
    for x, y, note in zip(line.cost, line.quality, line.notes, strict=False):
        axes.annotate(note, (x, y), (-4, -6), textcoords="offset points", ha="right", va="top", fontsize=9, color=colour)
