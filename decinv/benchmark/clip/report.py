"""The tables and the figure of the benchmark of clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decinv.benchmark.figures.figure import COLOURS, MARKERS, head, open_up
from decinv.benchmark.measuring.methods import DEFAULT, GRADIENT
from decinv.benchmark.table import Column, Value

COLUMNS = (
    Column("method", "method", f"`{DEFAULT}` is the package's default; `{GRADIENT}` backpropagates"),
    Column(
        "iterations", "k", "iterations, each one evaluation of E(D(z)), or one decode with its backward pass; 0 is the start"
    ),
    Column("nmse_db", "NMSE dB", "mean of 10 log10(|z - z*|^2 / |z*|^2) over the frames, scaled latents", ".2f"),
    Column("nmse_db_worst", "worst dB", "largest NMSE of a frame", ".2f"),
    Column("nmse_db_best", "best dB", "smallest NMSE of a frame", ".2f"),
    Column("psnr_db", "PSNR dB", "mean PSNR of D(z), clamped, against the 8-bit frame", ".2f"),
    Column("residual", "residual", "mean of |E(D(z)) - E(x)| / |E(x)|, raw latents, D(z) as the codec clamps it", ".2e"),
    Column("decodes", "D", "decodes for each frame", ".4g"),
    Column("encodes", "E", "encodes for each frame, E(x) included", ".4g"),
    Column("backwards", "backward", "backward passes through the decoder for each frame", ".4g"),
    Column("seconds", "s/frame", "seconds for each frame", ".3g"),
)
"""How the methods are shown."""

FRAME_COLUMNS = (
    Column("frame", "frame", "the frame's name"),
    Column("method", "method", "as in table.csv"),
    Column("iterations", "k", "as in table.csv"),
    Column("nmse_db", "NMSE dB", "NMSE of the frame's latent"),
    Column("psnr_db", "PSNR dB", "PSNR of the frame"),
)
"""What is written of each frame."""


def draw_frames(rows: Sequence[Mapping[str, Value]], caption: str, path: Path) -> None:
    """Draw the NMSE of each frame of one clip, a line for each method and number of iterations.

    Args:
        rows: Rows of one clip under ``FRAME_COLUMNS``.
        caption: A line on the conditions.
        path: The PNG file to write.
    """
    keys = list(dict.fromkeys((str(row["method"]), row["iterations"]) for row in rows))
    figure = Figure(figsize=(9.5, 5), layout="constrained")
    axes = figure.subplots()
    for (method, mark), colour, marker in zip(keys, COLOURS, ("o", *MARKERS), strict=False):
        values = [float(str(row["nmse_db"])) for row in rows if (row["method"], row["iterations"]) == (method, mark)]
        style = "--" if method == GRADIENT else "-"
        width = 2.6 if method == DEFAULT else 1.6
        label = f"{method}, {mark}" if mark else method
        axes.plot(range(len(values)), values, color=colour, marker=marker, linestyle=style, linewidth=width, label=label)
    axes.set_xlabel("frame")
    axes.set_ylabel("NMSE of the latent, dB, lower is better")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    open_up(axes)
    figure.legend(loc="outside right center", frameon=False, title="method, iterations")
    head(figure, "Inversion of a clip: how close to the true latent of each frame", f"{caption}\ndashed: with backpropagation")
    figure.savefig(path, dpi=160)
