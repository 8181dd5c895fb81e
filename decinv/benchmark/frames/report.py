"""The table and the figure of peak memory against frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from decinv.benchmark.figures.figure import COLOURS, MARKERS, head, open_up
from decinv.benchmark.table import Column, Table
from decinv.callbacks.sheet import plain
from decinv.memory import MIB


class Row(NamedTuple):
    """One measurement.

    Attributes:
        subject: Codec and size of the frames.
        is_metered: Whether the peak was metered; else it was planned.
        way: How the clip was inverted.
        frames: Frames of the clip.
        peak: Peak memory beyond weights and clip, in bytes.
        weights: Bytes of the codec's weights.
    """

    subject: str
    is_metered: bool
    way: str
    frames: int
    peak: int
    weights: int


JOINT = "gradient, whole clip, checkpointed"
"""The baseline as published code has it: all frames are decoded together."""

APART = "gradient, frame by frame, checkpointed"
"""The strongest baseline: it needs no more memory for a longer clip either."""

COLUMNS = (
    Column("subject", "codec and frames", "the codec, with height and width of the frames"),
    Column("way", "way", "how the clip is inverted; where frames are samples of their own, one after the other"),
    Column("frames", "frames", "number of frames of the clip"),
    Column("peak_mib", "peak MiB", "peak memory beyond weights and clip", ",.1f"),
    Column("total_mib", "with weights MiB", "the same and the codec's weights", ",.1f"),
    Column("saved_joint", "saved, joint", f"part of the memory with weights that it saves against '{JOINT}'", ".1%"),
    Column("saved_apart", "saved, apart", f"the same against '{APART}'", ".1%"),
    Column("source", "by", "the exact meter of a run, or a plan without computing"),
)


def write_report(rows: Sequence[Row], out: Path) -> None:
    """Write table.csv, table.md and figure.png, and print the table.

    Args:
        rows: The measurements, by subject and way, among them those of ``JOINT`` and ``APART``.
        out: The directory, which exists.
    """
    totals = {(row.subject, row.frames, row.way): row.peak + row.weights for row in rows}
    table = Table(
        COLUMNS,
        [
            {
                "subject": row.subject,
                "way": row.way,
                "frames": row.frames,
                "peak_mib": row.peak / MIB,
                "total_mib": (row.peak + row.weights) / MIB,
                "saved_joint": 1 - (row.peak + row.weights) / totals[row.subject, row.frames, JOINT],
                "saved_apart": 1 - (row.peak + row.weights) / totals[row.subject, row.frames, APART],
                "source": "meter" if row.is_metered else "plan",
            }
            for row in rows
        ],
        leading=2,
    )
    table.write(out)
    draw(rows, out / "figure.png")
    table.print()


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw peak against frames, both on logarithmic axes, a panel for each subject."""
    subjects = list(dict.fromkeys(row.subject for row in rows))
    ways = list(dict.fromkeys(row.way for row in rows))
    figure = Figure(figsize=(3.4 + 5.0 * len(subjects), 5.2), layout="constrained")
    panels = figure.subplots(1, len(subjects), squeeze=False)[0]
    for axes, subject in zip(panels, subjects, strict=True):
        shown = [row for row in rows if row.subject == subject]
        for place, way in enumerate(ways):
            _draw_line(axes, [row for row in shown if row.way == way], place)
        _dress(axes, sorted({row.frames for row in shown}))
        how = "metered on the CPU" if shown[0].is_metered else "planned"
        axes.set_title(plain(f"{subject} ({how})"), fontsize=10.5, loc="left")
    panels[0].set_ylabel("peak beyond weights and clip, MiB, log scale")
    caption = "A codec of images codes clips frame by frame, in float32. 'Checkpointed' recomputes each block of the decoder."
    if len({(row.subject, row.is_metered) for row in rows}) > len(subjects):
        caption += " Hollow markers are plans among metered points."
    head(figure, "Peak memory of inverting a clip does not grow with its frames where frames are inverted apart", caption)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", frameon=False, handlelength=3, labelspacing=0.9)
    figure.savefig(path, dpi=160)


def _draw_line(axes: Axes, rows: Sequence[Row], place: int) -> None:
    """Draw one way; plans among metered points have hollow markers."""
    colour, marker = COLOURS[place], MARKERS[place]
    frames, peaks = [row.frames for row in rows], [row.peak / MIB for row in rows]
    style = "-" if place < 2 else "--"
    axes.plot(frames, peaks, style, color=colour, marker=marker, markersize=6.5, linewidth=2.0, label=rows[0].way)
    if rows[0].is_metered:
        hollow = [(row.frames, row.peak / MIB) for row in rows if not row.is_metered]
        xs, ys = [frames for frames, _ in hollow], [peak for _, peak in hollow]
        axes.plot(xs, ys, linestyle="", color=colour, marker=marker, markersize=6.5, markerfacecolor="white")


def _dress(axes: Axes, counts: Sequence[int]) -> None:
    """Scale and name the axes."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(counts)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_xlabel("frames of the clip, log scale")
    open_up(axes)
    axes.tick_params(length=3, color="0.6")
