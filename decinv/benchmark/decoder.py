"""The benchmark of decoder inversion: every method on the same generated images, whose latents are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from decinv.benchmark.compare import compare, ticks
from decinv.benchmark.conditions import Conditions, check_marks
from decinv.benchmark.environment import write_environment
from decinv.benchmark.methods import GRADIENT, METHODS
from decinv.benchmark.progress import ticking
from decinv.benchmark.report import write_report
from decinv.benchmark.table import refuse_table

MARKS = (1, 2, 3, 5, 10, 20, 50, 100)


def decoder(
    out: Path,
    codec: str = "bundled",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    device: str | None = None,
    count: int = 32,
    size: int = 64,
    batch_size: int = 16,
    seed: int = 1000,
    perturbation: float = 0.1,
    marks: Sequence[int] = MARKS,
    repeats: int = 3,
    threads: int | None = None,
) -> None:
    """Compare all methods of decoder inversion on the same generated images.

    Writes table.csv, table.md, pareto.png and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        codec: The codec: ``bundled``, a directory saved by diffusers, or a hub id.
        dtype: Number format of the codec's arithmetic; latents and solver state are float32 all the same.
        device: Where to compute, such as ``cpu`` or ``cuda:1``; by default ``cuda`` where there is one, else ``cpu``.
        count: Number of images, at least 2.
        size: Height and width of an image in pixels, a multiple of the codec's stride.
        batch_size: Images that are inverted together, at least 1.
        seed: Seed of the images and of the perturbation of their latents.
        perturbation: Standard deviation of the Gaussian noise that is added to the encoded images' latents, relative to theirs.
        marks: Numbers of iterations after which to report, increasing, such as ``[1, 5, 20]``.
        repeats: How often each method is timed, at least 1; times are medians.
        threads: Threads that torch computes with on the CPU; by default as many as torch chooses.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = {**locals(), "out": str(out), "marks": list(marks)}
    refuse_table(out)
    conditions = Conditions([codec], dtype, device, count, size, batch_size, seed, perturbation, threads)
    check_marks(marks)
    if repeats < 1:
        raise ValueError(f"Expected `repeats` to be at least 1, but got {repeats}.")
    ((_, autoencoder, chunks),) = conditions.prepare()
    environment = write_environment(out, options, conditions.place())
    with ticking(ticks(chunks, METHODS, repeats)) as tick:
        rows = compare(autoencoder, chunks, METHODS, marks, repeats, GRADIENT, tick)
    write_report(rows, out, conditions.phrase(environment["device_name"]))
