"""A figure of many lines in families: NMSE against evaluations, one panel a codec."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from decinv.benchmark.figures.figure import dress, head
from decinv.callbacks.sheet import plain

DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (3, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1.3)))
"""Line styles, from solid to dotted."""

POINTS: dict[str, Any] = {"textcoords": "offset points"}


@dataclass(frozen=True)
class Curve:
    """One line of a panel.

    Attributes:
        family: What kind of method it is; the legend has a heading for each.
        label: What tells it from the others of its family.
        cost: Costs, one a point, above 0; without a point only the legend names the curve.
        quality: Qualities, one a point.
        colour: Its colour.
        dashes: Its line style, as matplotlib takes it.
        marker: The marker of its points; empty for none.
        notes: What is written at each point; may be empty.
        emphasised: Whether it stands out: the method that the figure is about.
    """

    family: str
    label: str
    cost: Sequence[float]
    quality: Sequence[float]
    colour: str
    dashes: Any = "-"
    marker: str = ""
    notes: Sequence[str] = ()
    emphasised: bool = False


@dataclass(frozen=True)
class Panel:
    """The curves of one codec.

    Attributes:
        title: What it is called.
        curves: Its curves; every panel has the same families and labels.
        level: A quality to draw a dotted line at, with its name; ``None`` for none.
    """

    title: str
    curves: Sequence[Curve]
    level: tuple[float, str] | None = None


def draw_curves(panels: Sequence[Panel], cost: str, quality: str, title: str, caption: str, path: Path) -> None:
    """Draw quality, lower is better, against cost on a logarithmic axis, the panels side by side.

    Args:
        panels: The panels, at least one.
        cost: Name and unit of the cost.
        quality: Name and unit of the quality.
        title: One line that says what the figure shows.
        caption: A line or two on the conditions.
        path: The PNG file to write.
    """
    figure = Figure(figsize=(3.6 + 6.4 * len(panels), 6.2), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        dress(axes, cost, quality)
        _draw(axes, panel)
        if len(panels) > 1:
            axes.set_title(plain(panel.title), fontsize=11)
    head(figure, title, caption)
    _add_legend(figure, panels[0].curves)
    figure.savefig(path, dpi=160)


def _draw(axes: Axes, panel: Panel) -> None:
    """Draw the lines of one panel."""
    for curve in panel.curves:
        axes.plot(curve.cost, curve.quality, **_style(curve))
        for x, y, note in zip(curve.cost, curve.quality, curve.notes, strict=False):
            axes.annotate(note, (x, y), (-6, -5), **POINTS, ha="right", va="top", fontsize=9, color=curve.colour)
    if panel.level is not None:
        value, name = panel.level
        axes.axhline(value, color="0.5", linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        place = ("axes fraction", "data")
        axes.annotate(name, (0.01, value), (0, 3), xycoords=place, **POINTS, fontsize=9, color="0.35")


def _style(curve: Curve) -> dict[str, Any]:
    """Give a curve's look, as matplotlib's lines take it."""
    return {
        "color": curve.colour,
        "linestyle": curve.dashes,
        "linewidth": 2.8 if curve.emphasised else 1.7,
        "marker": curve.marker,
        "markersize": 6.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
        "zorder": 3 if curve.emphasised else 2,
    }


def _add_legend(figure: Figure, curves: Sequence[Curve]) -> None:
    """Name the curves on the right, under a heading for each family that has more than one."""
    handles: list[Line2D] = []
    headings: list[int] = []
    for family in dict.fromkeys(curve.family for curve in curves):
        own = [curve for curve in curves if curve.family == family]
        if len(own) > 1:
            headings.append(len(handles))
            handles.append(Line2D([], [], linestyle="", label=family))
        handles += [Line2D([], [], label=c.label if len(own) > 1 else f"{family} {c.label}".strip(), **_style(c)) for c in own]
    legend = figure.legend(handles=handles, loc="outside right center", frameon=False, handlelength=4.2, labelspacing=0.6)
    for i in headings:
        legend.get_texts()[i].set_fontweight("bold")
