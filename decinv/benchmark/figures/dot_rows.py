"""A figure of dots in rows: a few methods on many codecs, the codecs below each other, with panels side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from decinv.benchmark.figures.figure import head, looks

Dots = Mapping[str, Sequence[float]]
"""Values by the name of the method, one for each codec."""


@dataclass(frozen=True)
class Panel:
    """One quantity of all methods on all codecs.

    Attributes:
        title: Name and unit of the quantity.
        dots: Its values.
        ticks: A value for each codec to compare with, drawn as a line across the codec's row; may be empty.
        bad: Value beyond which the panel is shaded; ``None`` for no shade.
    """

    title: str
    dots: Dots
    ticks: Sequence[float] = ()
    bad: float | None = None


def draw_dot_rows(rows: Sequence[str], panels: Sequence[Panel], emphasised: str, title: str, caption: str, path: Path) -> None:
    """Draw panels of dots, one row a codec.

    Args:
        rows: Names of the codecs, from the top.
        panels: The panels; all have the same methods.
        emphasised: The method that the figure is about.
        title: One line that says what the figure shows.
        caption: One line on the conditions.
        path: The PNG file to write.
    """
    figure = Figure(figsize=(11, 1.9 + 0.34 * len(rows)), layout="constrained")
    columns: Sequence[Axes] = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(columns, panels, strict=True):
        _draw(axes, panel, emphasised)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_yticks([row + 0.5 for row in range(len(rows) - 1)], minor=True)
        axes.grid(axis="y", which="minor", color="0.92", linewidth=0.8)
        axes.set_ylim(len(rows) - 0.4, -0.6)
    handles, labels = columns[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    head(figure, title, caption)
    figure.savefig(path, dpi=160)


def _draw(axes: Axes, panel: Panel, emphasised: str) -> None:
    """Draw one panel."""
    if panel.ticks:
        rows = range(len(panel.ticks))
        axes.plot(panel.ticks, rows, "|", color="0.35", markersize=17, markeredgewidth=1.8, label="encoder", zorder=2)
    styles = looks()
    spread = 0.44 / max(len(panel.dots) - 1, 1)
    for i, (name, values) in enumerate(panel.dots.items()):
        colour, marker = ("black", "o") if name == emphasised else next(styles)
        heights = [row + spread * i - 0.22 for row in range(len(values))]
        axes.scatter(
            values, heights, s=50, color=colour, marker=marker, edgecolors="white", linewidths=0.6, label=name, zorder=3
        )
    if panel.bad is not None:
        low, high = axes.get_xlim()
        axes.axvspan(panel.bad, max(high, panel.bad + 1), color="#D55E00", alpha=0.12, linewidth=0, zorder=0)
        axes.set_xlim(low, max(high, panel.bad + 1))
    axes.set_xlabel(panel.title)
    axes.grid(axis="x", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(which="both", length=0)
