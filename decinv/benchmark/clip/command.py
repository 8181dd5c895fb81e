"""The benchmark of a clip: how close each method comes to the true latent of every frame."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from decinv.batch import Batch
from decinv.benchmark.clip.report import COLUMNS, FRAME_COLUMNS, draw_frames
from decinv.benchmark.conditions import Conditions, check_marks, split
from decinv.benchmark.environment import write_environment
from decinv.benchmark.measuring.measure import Quality
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT, GRADIENT, PAPER
from decinv.benchmark.measuring.race import Entry, Findings, race, warm_up
from decinv.benchmark.progress import ticking
from decinv.benchmark.table import Table, Value, refuse_table
from decinv.codecs.autoencoder import load_codec
from decinv.data.generated_clips import generate_clip
from decinv.ranges import refuse_below

ENCODER = "encoder"


def clip(
    out: Path,
    codec: str = "bundled",
    device: str | None = None,
    count: int = 1,
    clip_length: int = 16,
    size: int = 64,
    batch_size: int = 8,
    seed: int = 1000,
    perturbation: float = 0.1,
    marks: Sequence[int] = (5, 20),
    baseline: int = 100,
    threads: int | None = None,
) -> None:
    """Invert generated clips of moving scenes frame by frame, with the default and with what it is measured against.

    Writes table.csv, frames.csv (each frame of each clip), table.md, frames.png and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        codec: The codec, of images: ``bundled``, a directory saved by diffusers, or a hub id.
        device: Where to compute, such as ``cpu`` or ``cuda:1``; by default ``cuda`` where there is one, else ``cpu``.
        count: Number of clips, at least 1.
        clip_length: Frames of a clip, at least 2.
        size: Height and width of a frame in pixels, a multiple of the codec's stride.
        batch_size: Frames that are inverted together, at least 1.
        seed: Seed of the scenes and of the perturbation of their latents.
        perturbation: Standard deviation of the Gaussian noise that is added to the frames' latents, relative to theirs.
        marks: Numbers of iterations after which the default reports, increasing.
        baseline: Iterations of the paper's Adam and of the gradient baseline, at least 1.
        threads: Threads that torch computes with on the CPU; by default as many as torch chooses.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    refuse_below(2, clip_length=clip_length)
    conditions = Conditions((codec,), "float32", device, clip_length, size, batch_size, seed, perturbation, threads)
    check_marks(marks)
    check_marks([baseline], "baseline")
    refuse_below(1, count=count)
    place = conditions.begin()
    model = load_codec(codec, "float32", place)
    clips = [generate_clip(model, index, clip_length, size, seed, perturbation) for index in range(count)]
    chunks = [part for whole in clips for part in split(whole, batch_size, place)]
    device_name = write_environment(out, options, place)
    entries = [Entry(BY_NAME[ENCODER], [0])]
    entries += [Entry(BY_NAME[name], [baseline]) for name in (GRADIENT, PAPER)] + [Entry(BY_NAME[DEFAULT], list(marks))]
    findings = []
    with ticking(len(chunks) + 1) as tick:
        tick("warm-up")
        warm_up(entries, model, chunks[0].image)
        for chunk in chunks:
            tick(f"frames {chunk.names[0]} to {chunk.names[-1]}")
            findings.append(race(entries, model, chunk))
    table = Table(COLUMNS, summarise(findings, clip_length * count))
    frames = list(of_frames(findings, chunks))
    Table(FRAME_COLUMNS, frames).write_csv(out / "frames.csv")
    many = f"{count} generated clip{'s' if count > 1 else ''}"
    phrase = (
        f"{many} of {clip_length} frames of {size} px (seed {seed}), {batch_size} frames at a time; codec {Path(codec).name}; "
        f"float32; {device_name} ({place}), threads: {torch.get_num_threads()}"
    )
    heading = f"# Inversion of clips, frame by frame\n\n{phrase}. Means are over all frames.\n\n"
    table.write(out, heading, "\n")
    draw_frames([row for row in frames if str(row["frame"]).startswith(f"{clip_of(chunks[0])}/")], phrase, out / "frames.png")
    table.print()


def clip_of(chunk: Batch) -> str:
    """Give the name of the clip of a chunk's first frame."""
    return chunk.names[0].rpartition("/")[0]


def summarise(findings: Sequence[Findings], count: int) -> list[Mapping[str, Value]]:
    """Make one row for each method and number of iterations, over ``count`` frames in all chunks."""
    rows: list[Mapping[str, Value]] = []
    for name, marks in findings[0].items():
        for mark in marks:
            parts = [chunk[name][mark] for chunk in findings]
            found = Quality(*(torch.cat(part) for part in zip(*(part.quality for part in parts), strict=True)))
            rows.append(
                {
                    "method": name,
                    "iterations": mark,
                    "nmse_db": _mean(found.nmse_db),
                    "nmse_db_worst": float(found.nmse_db.max()),
                    "nmse_db_best": float(found.nmse_db.min()),
                    "psnr_db": _mean(found.psnr_db),
                    "residual": _mean(found.residual),
                    "decodes": _mean(found.decodes),
                    "encodes": _mean(found.encodes),
                    "backwards": _mean(found.backwards),
                    "seconds": sum(part.seconds for part in parts) / count,
                }
            )
    return rows


def of_frames(findings: Sequence[Findings], chunks: Sequence[Batch]) -> list[Mapping[str, Value]]:
    """Make one row for each frame, method and number of iterations."""
    return [
        {"frame": frame, "method": name, "iterations": mark, "nmse_db": float(nmse), "psnr_db": float(psnr)}
        for found, chunk in zip(findings, chunks, strict=True)
        for name, marks in found.items()
        for mark, (quality, _) in marks.items()
        for frame, nmse, psnr in zip(chunk.names, quality.nmse_db, quality.psnr_db, strict=True)
    ]


def _mean(values: Tensor) -> float:
    return float(values.mean())
