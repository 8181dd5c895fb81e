"""The figure of the sampler benchmark: residual by step, error against evaluations, and regeneration against seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from decinv.benchmark.figures.figure import head, looks, open_up
from decinv.benchmark.sampler.methods import OURS, is_ours
from decinv.benchmark.sampler.rows import Row


def draw_sampler(rows: Sequence[Row], caption: str, path: Path) -> None:
    """Draw three panels for each sampler; ours in black, its tolerances joined by a line.

    Args:
        rows: The methods with each sampler.
        caption: Lines on the conditions.
        path: The PNG file to write.
    """
    samplers = list(dict.fromkeys(row.sampler for row in rows))
    figure = Figure(figsize=(16, 1.2 + 4.2 * len(samplers)))
    figure.set_layout_engine("constrained", wspace=0.04, hspace=0.05)
    grid = figure.subplots(len(samplers), 3, squeeze=False)
    others = dict.fromkeys(row.method for row in rows if not is_ours(row.method))
    styles = dict(zip(others, looks(), strict=False))
    handles: dict[str, Any] = {}
    for name, (by_step, by_evaluations, by_seconds) in zip(samplers, grid, strict=True):
        here = [row for row in rows if row.sampler == name]
        for row in here:
            if row.residuals and (not is_ours(row.method) or row.method == OURS):
                _line(by_step, range(1, len(row.residuals) + 1), row.residuals, row, styles)
        own = sorted((row for row in here if is_ours(row.method)), key=lambda row: row.evaluations)
        for group in [*([row] for row in here if not is_ours(row.method)), own]:
            if group:
                look = _look(group[0], styles) | {"linestyle": "-" if group is own else ""}
                (handle,) = by_evaluations.plot([r.evaluations for r in group], [r.t0t_db for r in group], **look)
                by_seconds.plot([r.seconds for r in group], [r.psnr_db for r in group], **look)
                handles.setdefault(OURS if group is own else group[0].method, handle)
        by_step.set_yscale("log")
        by_step.xaxis.set_major_locator(MaxNLocator(integer=True))
        _name(by_step, f"{name}: residual of each step", "step, the noisiest first", "|step(x) - y| / |y|, lower is better")
        _name(by_evaluations, f"{name}: error of the noise", "network evaluations, log scale", "T0T NMSE, dB, lower is better")
        _name(by_seconds, f"{name}: image sampled anew", "seconds an image, log scale", "PSNR, dB, higher is better")
        for axes in (by_evaluations, by_seconds):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    head(figure, "Inversion of samplers: how exact, at what cost", caption)
    figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False, labelspacing=0.9)
    figure.savefig(path, dpi=160)


def _look(row: Row, styles: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Give a method's look, as matplotlib's lines take it."""
    colour, marker = ("black", "o") if is_ours(row.method) else styles[row.method]
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.6}
    return {"color": colour, "marker": marker, "markersize": 8, "linewidth": 2.4 if is_ours(row.method) else 1.5, **edge}


def _line(axes: Axes, steps: Sequence[int], residuals: Sequence[float], row: Row, styles: dict[str, tuple[str, str]]) -> None:
    """Draw the residuals of one method, with at most ten markers."""
    axes.plot(steps, residuals, **_look(row, styles) | {"markersize": 6, "markevery": max(1, len(steps) // 10)})


def _name(axes: Axes, title: str, cost: str, quality: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(cost)
    axes.set_ylabel(quality)
    open_up(axes)
    axes.tick_params(length=3, color="0.6")
