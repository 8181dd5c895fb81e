"""The benchmark of decoder inversion: every method on the same generated images, whose latents are known."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from decinv.batch import Batch
from decinv.benchmark.compare import compare, ticks
from decinv.benchmark.environment import choose_device, describe_environment
from decinv.benchmark.methods import GRADIENT, METHODS
from decinv.benchmark.report import write_report
from decinv.benchmark.table import refuse_table
from decinv.codecs.autoencoder import load_codec
from decinv.data.generated import generate

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
    if count < 2 or batch_size < 1 or repeats < 1 or (threads is not None and threads < 1):
        raise ValueError(
            "Expected `count` to be at least 2, `batch_size`, `repeats` and `threads` at least 1, "
            f"but got {count}, {batch_size}, {repeats} and {threads}."
        )
    if not marks or marks[0] < 1 or list(marks) != sorted(set(marks)):
        raise ValueError(f"Expected `marks` to be increasing and at least 1, but got {list(marks)}.")
    if threads is not None:
        torch.set_num_threads(threads)
    place = choose_device(device)
    autoencoder = load_codec(codec, dtype, place)
    chunks = split(generate(autoencoder, count, size, seed, perturbation), batch_size, place)
    out.mkdir(parents=True, exist_ok=True)
    environment = {"options": options, **describe_environment(place)}
    (out / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=ticks(chunks, METHODS, repeats))

        def tick(what: str) -> None:
            progress.update(task, description=what, advance=1, refresh=True)

        rows = compare(autoencoder, chunks, METHODS, marks, repeats, GRADIENT, tick)
    conditions = (
        f"{count} generated images of {size} px in batches of {batch_size}; codec {codec}, {dtype}; "
        f"{environment['device_name']} ({place}), threads: {environment['threads']}"
    )
    write_report(rows, out, conditions)


def split(batch: Batch, batch_size: int, device: torch.device) -> list[Batch]:
    """Cut generated images, with their latents, into chunks of at most ``batch_size`` on a device."""
    assert batch.latent is not None
    parts = zip(torch.split(batch.image, batch_size), torch.split(batch.latent, batch_size), strict=True)
    starts = range(0, len(batch.image), batch_size)
    return [
        Batch(image.to(device), batch.names[i : i + batch_size], latent.to(device))
        for i, (image, latent) in zip(starts, parts, strict=True)
    ]
