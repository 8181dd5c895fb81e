"""How long the index and the results of a very large run take to open."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from decinv.benchmark.environment import write_environment
from decinv.benchmark.table import Column, Table, Value, refuse_table
from decinv.data.listing import list_images
from decinv.rows import Row
from decinv.runs import RunDirectory, Share, merge
from decinv.runs.share import block_size
from decinv.status import Status

COLUMNS = (
    Column("step", "step", "what was done"),
    Column("seconds", "seconds", "how long it took", ".2f"),
)


def index(out: Path, count: int = 1_000_000, processes: int = 8, batch_size: int = 8) -> None:
    """Time what a run of very many images does beside inverting them, on a made-up manifest and made-up results.

    Writes table.csv, table.md and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        count: Number of images, at least 1.
        processes: Number of processes among which they are divided, at least 1.
        batch_size: Images that are inverted together, at least 1.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    if min(count, processes, batch_size) < 1:
        raise ValueError(
            f"Expected `count`, `processes` and `batch_size` to be at least 1, but got {count}, {processes} and {batch_size}."
        )
    write_environment(out, options, torch.device("cpu"))
    rows: list[dict[str, Value]] = []

    def timed(step: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        rows.append({"step": step, "seconds": time.perf_counter() - began})

    size = block_size(count, batch_size)
    with tempfile.TemporaryDirectory() as folder:
        manifest, run = Path(folder) / "images.txt", RunDirectory(Path(folder) / "run")
        manifest.write_text("".join(f"{i // 1000:04d}/{i:07d}.png\n" for i in range(count)), encoding="utf-8")
        timed("list a manifest, once a run", lambda: run.inputs(lambda: list_images(str(manifest))))
        timed("open the list and find one's share", lambda: list(Share(0, processes).blocks(run.inputs(), size)))
        for number in range(processes):
            fill(run, Share(number, processes), size)
        timed("see what is done", lambda: run.done(count))
        timed("merge and check all tables", lambda: merge(run))
        timed("read the merged results", lambda: sum(1 for _ in run.rows()))
    table = Table(COLUMNS, rows)
    table.write(out, f"{count} images, {processes} processes\n\n", "\n")
    table.print()


def fill(run: RunDirectory, share: Share, size: int) -> None:
    """Write a row for each input of a share."""
    for _, block in share.blocks(run.inputs(), size):
        rows = [Row(item.name, Status.CONVERGED, 20, 20, 9.9e-6, 40.125, 38.5, None, 0.25, 12.5, item.number) for item in block]
        run.append(share, rows)
