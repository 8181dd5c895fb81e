"""The closing table of a run."""

import time
from collections import Counter

import torch
from lightning import LightningModule, Trainer
from rich import get_console
from rich.table import Table

from decinv.callbacks.base import Chunk, ChunkCallback
from decinv.callbacks.run import run_directory
from decinv.metrics.samples import Interval
from decinv.modules.base import Inversion
from decinv.rows import Row


class Summary(ChunkCallback):
    """Print a table at the end of the run: outcomes, quality, time, memory, and where the results are.

    Means are over the samples whose value is known and finite; an interval is the 95 % interval of the mean.
    """

    def __init__(self) -> None:
        """Start without a row."""
        self._rows: list[Row] = []
        self._began = self._ended = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._rows = []
        self._began = time.perf_counter()

    def on_chunk_end(self, trainer: Trainer, pl_module: Inversion, chunk: Chunk) -> None:
        """Keep the rows, and the time."""
        self._rows += chunk.rows
        self._ended = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table."""
        if not trainer.is_global_zero:
            return
        console = get_console()
        if not self._rows:
            console.print("No images were found, so there are no results.")
            return
        console.print(closing_table(self._rows, self._ended - self._began, str(run_directory(trainer))))


def closing_table(rows: list[Row], wall_seconds: float, directory: str) -> Table:
    """Make the table.

    Args:
        rows: The rows of a run, at least one.
        wall_seconds: Seconds from the first chunk's begin to the last one's end.
        directory: The run directory.
    """
    table = Table(title=f"{len(rows)} image{'s' if len(rows) != 1 else ''}", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for status, count in sorted(Counter(row.status for row in rows).items()):
        style = "" if status.ok else "bold red"
        table.add_row(status.name.lower().replace("_", " "), str(count), style=style)
    table.add_section()
    nmse, residual = _values(rows, "nmse_db"), _values(rows, "residual")
    if len(nmse):
        table.add_row("latent NMSE", f"{_mean(nmse)}, worst {nmse.max():.2f} dB")
    if len(residual):
        table.add_row("relative residual", f"median {residual.quantile(0.5):.2e}, worst {residual.max():.2e}")
    psnr = _values(rows, "psnr_db")
    if len(psnr):
        table.add_row("PSNR of D(z)", f"{_mean(psnr)}, worst {psnr.min():.2f} dB")
    table.add_section()
    seconds, peak = _values(rows, "seconds"), _values(rows, "peak_mib")
    if len(seconds):
        table.add_row("computing", f"{seconds.mean():.3g} s an image")
    table.add_row("wall time", f"{wall_seconds:.3g} s, {len(rows) / max(wall_seconds, 1e-9):.3g} images/s")
    if len(peak):
        table.add_row("peak memory", f"{peak.max():.4g} MiB beside weights and images")
    table.add_row("results", directory)
    return table


def _values(rows: list[Row], column: str) -> torch.Tensor:
    values = (getattr(row, column) for row in rows)
    return torch.tensor([value for value in values if value is not None], dtype=torch.float64)


def _mean(values: torch.Tensor) -> str:
    mean, half_width, used, left_out = Interval.of(values)
    interval = f" ± {half_width:.2f}" if used > 1 else ""
    return f"mean {mean:.2f}{interval} dB" + (f" ({left_out} exact)" if left_out else "")
