"""A figure of dots with intervals in columns: one quantity at several places, side by side for several methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from decinv.benchmark.figures.figure import head, looks
from decinv.callbacks.sheet import plain

GREYS = ("0.62", "0.38", "0.0")
"""Colours of emphasised series, the last of which is the darkest."""


@dataclass(frozen=True)
class Series:
    """One method in the figure.

    Attributes:
        label: Its name.
        values: One value a place.
        half_widths: Half-widths of the values' intervals.
        emphasised: Whether it is what the figure is about.
    """

    label: str
    values: Sequence[float]
    half_widths: Sequence[float]
    emphasised: bool = False


NARROWEST = 8.6
"""Least width of a figure in inches, for its heading to fit."""


def draw_dots(
    panels: Mapping[str, Sequence[Series]], places: Sequence[str], value: str, title: str, caption: str, path: Path
) -> None:
    """Draw one panel above the other, lower is better, with one column a place and one dot a series in each.

    Args:
        panels: Series by the panel's title; at most three a panel are emphasised.
        places: Names of the places.
        value: Name and unit of the values.
        title: One line that says what the figure shows.
        caption: Lines on the conditions.
        path: The PNG file to write.
    """
    width = max(3.2 + 0.95 * len(places), NARROWEST)
    figure = Figure(figsize=(width, 1.2 + 3.6 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, (name, all_series) in zip(axes, panels.items(), strict=True):
        styles, greys = looks(), iter(GREYS[-sum(one.emphasised for one in all_series) :])
        for i, one in enumerate(all_series):
            colour, marker = (next(greys), "o") if one.emphasised else next(styles)
            at = [place + 0.75 * ((i + 0.5) / len(all_series) - 0.5) for place in range(len(places))]
            look = {"color": colour, "marker": marker, "markersize": 7, "elinewidth": 1.4, "linestyle": "none"}
            axis.errorbar(at, one.values, one.half_widths, label=one.label, **look)
        for place in range(0, len(places), 2):
            axis.axvspan(place - 0.5, place + 0.5, color="0.96", zorder=0)
        axis.set_xlim(-0.5, len(places) - 0.5)
        axis.set_xticks(range(len(places)), map(plain, places))
        axis.set_ylabel(f"{value}, lower is better")
        axis.set_title(plain(name), loc="left", fontsize=10)
        axis.grid(axis="y", color="0.88", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(length=0)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, labelspacing=0.9)
    head(figure, title, caption)
    figure.savefig(path, dpi=160)
