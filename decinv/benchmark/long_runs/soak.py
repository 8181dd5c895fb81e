"""Whether a long run stays as small and as fast as it began."""

import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from decinv.benchmark.environment import write_environment
from decinv.benchmark.table import Column, Table, Value, refuse_table
from decinv.callbacks import Chunk, ChunkCallback, Convergence, InversionProgress, Memory, ResultWriter, Summary
from decinv.codecs.linear import LinearCodec
from decinv.data.images import ImageData
from decinv.modules import DecoderInversion
from decinv.modules.base import Inversion

COLUMNS = (
    Column("images", "images", "images done at the end of this tenth of the run"),
    Column("images_per_second", "images/s", "images per second in this tenth", ".1f"),
    Column("resident_mib", "resident MiB", "resident memory of the process at its end", ".1f"),
)


class Probe(ChunkCallback):
    """Note time, images done and resident memory after each chunk."""

    def __init__(self) -> None:
        """Start without a note."""
        self.notes: list[tuple[int, float, float]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the beginning."""
        self.notes = [(0, time.perf_counter(), resident_mib())]

    def on_chunk_end(self, trainer: Trainer, pl_module: Inversion, chunk: Chunk) -> None:
        """Note where the run is."""
        self.notes.append((self.notes[-1][0] + len(chunk.rows), time.perf_counter(), resident_mib()))


def resident_mib() -> float:
    """Give the resident memory of this process in MiB.

    Raises:
        OSError: Where there is no /proc, as on systems other than Linux.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(out: Path, count: int = 20_000, size: int = 8, batch_size: int = 16, max_iters: int = 20) -> None:
    """Run the whole job on many tiny images with the linear codec, and watch memory and speed.

    Every image is read from a file, inverted, and its results are written, with all callbacks and TensorBoard. Writes
    table.csv, table.md and environment.json, and prints the table: one row for each tenth of the run, and the growth of
    resident memory from the end of the first tenth to the end of the run.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        count: Number of images, at least 10.
        size: Their height and width in pixels, a multiple of 4.
        batch_size: Images that are inverted together.
        max_iters: Largest number of iterations of an image.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    settings = dict(locals())
    refuse_table(out)
    if count < 10 or size % 4:
        raise ValueError(f"Expected `count` to be at least 10 and `size` a multiple of 4, but got {count} and {size}.")
    write_environment(out, settings, torch.device("cpu"))
    probe = Probe()
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder) / "images", count, size)
        options: dict[str, Any] = {"max_epochs": -1, "enable_checkpointing": False, "enable_model_summary": False}
        run = Path(folder) / "run"
        trainer = Trainer(
            default_root_dir=run,
            accelerator="cpu",
            callbacks=[Memory(), Convergence(), ResultWriter(), InversionProgress(), Summary(), probe],
            logger=TensorBoardLogger(save_dir=run, name="", version=""),
            log_every_n_steps=1,
            **options,
        )
        data = ImageData(str(Path(folder) / "images"), batch_size)
        trainer.fit(DecoderInversion(LinearCodec(), max_iters=max_iters), datamodule=data)
    rows = tenths(probe.notes)
    growth = float(rows[-1]["resident_mib"] or 0) / float(rows[0]["resident_mib"] or 1) - 1
    table = Table(COLUMNS, rows)
    line = f"Resident memory grew by {growth:.1%} from a tenth of the run to its end."
    table.write(out, below=f"\n\n{line}\n")
    table.print()
    print(line)


def draw(folder: Path, count: int, size: int) -> None:
    """Write images of noise, a thousand to a folder."""
    generator = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index // 1000:03d}" / f"{index:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)


def tenths(notes: list[tuple[int, float, float]]) -> list[dict[str, Value]]:
    """Give images per second and resident memory of each tenth of a run, from notes (images done, seconds, MiB).

    Tenths that end with the same chunk are one.
    """
    total = notes[-1][0]
    marks = list(dict.fromkeys(next(note for note in notes if note[0] >= total * tenth / 10) for tenth in range(11)))
    return [
        {"images": after[0], "images_per_second": (after[0] - before[0]) / (after[1] - before[1]), "resident_mib": after[2]}
        for before, after in pairwise(marks)
    ]
