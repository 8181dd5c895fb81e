"""A figure of lines: quality against costs, one line a method, in panels that share a legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from decinv.benchmark.figures.figure import dress, head, looks
from decinv.callbacks.sheet import plain


@dataclass(frozen=True)
class Line:
    """One method in the figure.

    Attributes:
        label: Its name.
        cost: Costs, one a point, above 0.
        quality: Qualities, one a point.
        notes: What is written at each point; may be empty.
        emphasised: Whether it stands out: the method that the figure is about.
        dashed: Whether its line is dashed, to tell two kinds of methods apart.
        lone: Whether a single point is a method like the others; else it draws a level to compare with.
    """

    label: str
    cost: Sequence[float]
    quality: Sequence[float]
    notes: Sequence[str] = ()
    emphasised: bool = False
    dashed: bool = False
    lone: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes: quality, lower is better, against a cost on a logarithmic axis.

    Attributes:
        lines: The methods; those of one label look alike in all panels of a figure.
        cost: Name and unit of the cost.
        quality: Name and unit of the quality.
        heading: What is written above it; may be empty.
    """

    lines: Sequence[Line]
    cost: str
    quality: str
    heading: str = ""


def draw_pareto(panels: Sequence[Sequence[Panel]], title: str, caption: str, path: Path) -> None:
    """Draw panels that share one legend, ordered from the worst to the best of the first panel's methods.

    Args:
        panels: The panels by rows, in each of which the quality has one scale; all rows have as many.
        title: One line that says what the figure shows.
        caption: Lines on the conditions.
        path: The PNG file to write.
    """
    figure = Figure(figsize=(5 + 4.6 * len(panels[0]), 1.2 + 4.2 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), len(panels[0]), sharey="row", squeeze=False)
    labels = dict.fromkeys(line.label for row in panels for panel in row for line in panel.lines if _coloured(line))
    styles = dict(zip(labels, looks(), strict=False))
    handles: dict[str, Artist] = {}
    for pairs, row in zip(grid, panels, strict=True):
        for axes, panel in zip(pairs, row, strict=True):
            for line in panel.lines:
                _draw(axes, line, *styles.get(line.label, ("black", "o")))
            dress(axes, panel.cost, panel.quality if axes is pairs[0] else "")
            axes.set_title(plain(panel.heading), loc="left", fontsize=10)
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
    head(figure, title, caption)
    last = {line.label: line.quality[-1] for line in reversed([x for row in panels for panel in row for x in panel.lines])}
    order = sorted(handles, key=lambda label: -last[label])
    figure.legend(
        [handles[label] for label in order], order, loc="outside right center", frameon=False, handlelength=3, labelspacing=0.9
    )
    figure.savefig(path, dpi=160)


def _coloured(line: Line) -> bool:
    """Whether a line takes one of the colours: neither black nor a level."""
    return not line.emphasised and (line.lone or len(line.cost) > 1)


def _draw(axes: Axes, line: Line, colour: str, marker: str) -> None:
    """Draw one line with its notes, or a level."""
    if len(line.cost) == 1 and not line.lone:
        axes.axhline(line.quality[0], color="0.6", linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        axes.plot(line.cost, line.quality, "o", color="0.35", markersize=8, label=line.label, zorder=4)
        return
    axes.plot(
        line.cost,
        line.quality,
        color=colour,
        marker=marker,
        markersize=8.5 if line.emphasised or line.lone else 7,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linewidth=2.8 if line.emphasised else 1.6,
        linestyle=(0, (4, 1.5)) if line.dashed else "-",
        label=line.label,
        zorder=3 if line.emphasised else 2,
    )
    for x, y, note in zip(line.cost, line.quality, line.notes, strict=False):
        axes.annotate(note, (x, y), (-4, -6), textcoords="offset points", ha="right", va="top", fontsize=9, color=colour)
