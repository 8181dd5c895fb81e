"""A figure of small scatter plots: one quantity against another, coloured by a third."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from decinv.benchmark.figures.figure import head
from decinv.callbacks.sheet import plain

RED = "#d62728"


@dataclass(frozen=True)
class Panel:
    """One scatter plot.

    Attributes:
        x: Values across, one a point.
        y: Values upwards, one a point.
        colour: Values that the colours stand for, one a point.
        mark: Where to draw a vertical line; ``None`` for nowhere.
    """

    x: Sequence[float]
    y: Sequence[float]
    colour: Sequence[float]
    mark: float | None = None


def draw_scatters(
    panels: Sequence[Sequence[Panel]],
    columns: Sequence[str],
    rows: Sequence[str],
    x: str,
    y: str,
    colour: str,
    title: str,
    caption: str,
    path: Path,
) -> None:
    """Draw a grid of panels, each with axes of its own and its least-squares line, under one colour scale.

    Args:
        panels: The panels, row by row.
        columns: What each column shows.
        rows: What each row shows.
        x: Name of the quantity across.
        y: Name of the quantity upwards.
        colour: Name and unit of the colours.
        title: One line that says what the figure shows.
        caption: Lines on the conditions.
        path: The PNG file to write.
    """
    figure = Figure(figsize=(1 + 2.7 * len(columns), 1.3 + 2.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    shades = [value for row in panels for panel in row for value in panel.colour]
    scale = Normalize(min(shades, default=0.0), max(shades, default=1.0))
    for i, row in enumerate(panels):
        for j, panel in enumerate(row):
            _draw(axes[i, j], panel, scale)
        axes[i, 0].set_ylabel(plain(f"{rows[i]}\n\n{y}"), fontsize=9)
    for j, column in enumerate(columns):
        axes[0, j].set_title(column, fontsize=10)
    figure.supxlabel(x, fontsize=10)
    figure.colorbar(ScalarMappable(scale, "viridis"), ax=axes, label=colour, shrink=0.7, aspect=30, pad=0.01)
    head(figure, title, caption)
    figure.savefig(path, dpi=130)


def _draw(axes: Axes, panel: Panel, scale: Normalize) -> None:
    """Draw one panel."""
    axes.scatter(panel.x, panel.y, c=panel.colour, norm=scale, cmap="viridis", s=22, edgecolors="white", linewidths=0.4)
    axes.margins(0.08)
    x, y = np.asarray(panel.x), np.asarray(panel.y)
    if len(x) > 1 and np.ptp(x) > 0:
        slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, y.mean() + slope * (ends - x.mean()), color=RED, linewidth=1.4)
    if panel.mark is not None:
        axes.axvline(panel.mark, color="0.4", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axes.locator_params(nbins=4)
    axes.tick_params(labelsize=8, length=3, color="0.6")
    axes.spines[["top", "right"]].set_visible(False)
