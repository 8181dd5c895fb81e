"""The closing table of a run."""

import time

from lightning import LightningModule, Trainer
from rich import get_console
from rich.markup import escape
from rich.table import Table

from decinv.callbacks.base import Chunk, ChunkCallback
from decinv.callbacks.run import as_inversion, data_of, run_directory, share_of
from decinv.callbacks.tally import Tally
from decinv.data.base import ChunkData
from decinv.data.indexed import IndexedData
from decinv.metrics.samples import Moments
from decinv.modules.base import Inversion


class Summary(ChunkCallback):
    """Print a table at the end of the run: outcomes, quality, time, memory, and where the results are.

    Means are over the samples whose value is known and finite; an interval is the 95 % interval of the mean. The median is
    that of 65,536 samples, drawn uniformly, where there are more.
    """

    def __init__(self) -> None:
        """Start without a row."""
        self._tally = Tally()
        self._began = self._ended = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._tally = Tally()
        self._began = time.perf_counter()

    def on_chunk_end(self, trainer: Trainer, pl_module: Inversion, chunk: Chunk) -> None:
        """Count the rows, and the time."""
        for row in chunk.rows:
            self._tally.add(row)
        self._ended = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table."""
        if not trainer.is_global_zero:
            return
        console = get_console()
        data = data_of(trainer)
        sample = data.sample if isinstance(data, ChunkData) else "image"
        if not self._tally.count:
            begun = as_inversion(pl_module, self).batch is not None
            waited = data.finished < data.total if isinstance(data, IndexedData) else begun
            console.print(f"No {sample} was {'finished' if waited else 'left to invert'}.")
            return
        share = share_of(trainer)
        part = f", process {share.index} of {share.count}" if share.count > 1 else ""
        seconds = self._ended - self._began
        console.print(closing_table(self._tally, seconds, str(run_directory(trainer)), part, sample))


def closing_table(tally: Tally, wall_seconds: float, directory: str, part: str = "", sample: str = "image") -> Table:
    """Make the table.

    Args:
        tally: The rows of a run, at least one.
        wall_seconds: Seconds from the first chunk's begin to the last one's end.
        directory: The run directory.
        part: What to say of the part of the run that this is, to stand behind the number of images.
        sample: What a sample is called.
    """
    count, residual = tally.count, tally.residual
    table = Table(title=f"{count} {sample}{'s' if count != 1 else ''}{part}", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for status, number in sorted(tally.statuses.items()):
        style = "" if status.ok else "bold red"
        table.add_row(status.name.lower().replace("_", " "), str(number), style=style)
    table.add_section()
    if len(tally.nmse_db):
        table.add_row("latent NMSE", _decibels(tally.nmse_db, tally.nmse_db.highest))
    if len(tally.noise_nmse_db):
        table.add_row("noise NMSE", _decibels(tally.noise_nmse_db, tally.noise_nmse_db.highest))
    if len(residual):
        table.add_row("relative residual", f"median {tally.median_residual:.2e}, worst {residual.highest:.2e}")
    if len(tally.psnr_db):
        what = "PSNR of the round trip" if len(tally.round_trip_nmse_db) else "PSNR of D(z)"
        table.add_row(what, _decibels(tally.psnr_db, tally.psnr_db.lowest))
    table.add_section()
    if len(tally.seconds):
        table.add_row("computing", f"{tally.seconds.mean:.3g} s {'an' if sample == 'image' else 'a'} {sample}")
    table.add_row("wall time", f"{wall_seconds:.3g} s, {count / max(wall_seconds, 1e-9):.3g} {sample}s/s")
    if len(tally.peak_mib):
        table.add_row("peak memory", f"{tally.peak_mib.highest:.4g} MiB beside weights and images")
    table.add_row("results", escape(directory))
    return table


def _decibels(moments: Moments, worst: float) -> str:
    """Write mean and worst of values in dB, of which infinite ones are those of identical samples."""
    mean, half_width, used, left_out = moments.interval
    if not used:
        return "exact"
    interval = f" ± {half_width:.2f}" if used > 1 else ""
    exact = f" ({left_out} exact)" if left_out else ""
    return f"mean {mean:.2f}{interval} dB{exact}, worst {worst:.2f} dB"
