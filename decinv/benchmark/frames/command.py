"""Peak memory against the number of frames of a clip, for a codec that codes clips frame by frame."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from decinv.benchmark.environment import write_environment
from decinv.benchmark.frames.report import APART, JOINT, Row, write_report
from decinv.benchmark.measuring.metering import METERED
from decinv.benchmark.measuring.methods import paper_adam
from decinv.benchmark.progress import ticking
from decinv.benchmark.table import refuse_table
from decinv.codecs.autoencoder import AutoencoderCodec
from decinv.codecs.frames import as_frames
from decinv.memory import PeakMemory
from decinv.modules import DecoderInversion, GradientInversion
from decinv.modules.base import Inversion
from decinv.plan import plan

STABLE_DIFFUSION = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
"""The shape of Stable Diffusion's autoencoder; a plan needs no weights."""


FEW = 2
"""Iterations of the frames in the middle: enough for the first update to have been made."""


@dataclass(frozen=True)
class Way:
    """One way to invert a clip.

    Attributes:
        name: What table and figure call it.
        make: The inversion, made from a codec.
        whole: Whether all frames are one sample, as published code has it, rather than samples of their own.
        iterations: Iterations after which its peak rises no more; the first and the last frame take so many, others ``FEW``.
    """

    name: str
    make: Callable[[AutoencoderCodec], Inversion]
    whole: bool = False
    iterations: int = FEW


CHECKPOINTED = partial(GradientInversion, checkpointing=True)

WAYS = (
    Way("gradient-free, default", DecoderInversion, iterations=METERED),
    Way("gradient-free, paper's Adam", lambda codec: DecoderInversion(codec, paper_adam(0.01))),
    Way(APART, CHECKPOINTED),
    Way("gradient, frame by frame", GradientInversion),
    Way(JOINT, CHECKPOINTED, whole=True),
    Way("gradient, whole clip", GradientInversion, whole=True),
)
"""All ways, from the least memory to the most; all but the first two backpropagate."""


def frames(
    out: Path,
    counts: Sequence[int] = (1, 4, 16, 64, 256),
    codec: str = "bundled",
    size: int = 32,
    height: int = 320,
    width: int = 512,
    at_once: int = 1,
    most_frames: int = 256,
) -> None:
    """Meter and predict how the memory of each way to invert a clip grows with its frames.

    On the CPU a small codec inverts clips of noise under the exact meter. The autoencoder of Stable Diffusion at full width is
    planned on tensors without content, which needs no weights. Writes table.csv, table.md, figure.png and environment.json, and
    prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        counts: Numbers of frames, increasing.
        codec: The metered codec, one of images: ``bundled``, a directory saved by diffusers, or a hub id.
        size: Height and width of its frames in pixels, a multiple of its stride.
        height: Height of the planned frames in pixels, a multiple of 8.
        width: Width of the planned frames in pixels, a multiple of 8.
        at_once: Frames that are inverted together where they are samples of their own, at least 1.
        most_frames: Frames above which whole clips are not metered but planned, at least 0.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range, or the codec is one of clips.
    """
    options = dict(locals())
    refuse_table(out)
    if not counts or min(counts) < 1 or list(counts) != sorted(set(counts)):
        raise ValueError(f"Expected `counts` to increase from at least 1, but got {list(counts)}.")
    if at_once < 1 or most_frames < 0:
        raise ValueError(f"Expected `at_once` above 0 and `most_frames` not below 0, but got {at_once} and {most_frames}.")
    write_environment(out, options, torch.device("cpu"))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, ticking(2 * len(WAYS) * len(counts)) as tick:
        (Path(folder) / "config.json").write_text(json.dumps(STABLE_DIFFUSION), encoding="utf-8")
        for way in WAYS:
            inversion = prepare(way, codec)
            planned = planner(way, inversion, (size, size), at_once)
            for count in counts:
                is_metered = count <= most_frames or not way.whole
                peak = metered(way, inversion, noise(count, size), at_once) if is_metered else planned(count)
                rows.append(Row(f"{codec}, {size} x {size}", is_metered, way.name, count, peak, weights(inversion)))
                tick(f"{way.name}, {count} frames")
        for way in WAYS:
            with torch.device("meta"):
                inversion = prepare(way, folder)
            planned = planner(way, inversion, (height, width), at_once)
            for count in counts:
                subject = f"Stable Diffusion, {height} x {width}"
                rows.append(Row(subject, False, way.name, count, planned(count), weights(inversion)))
                tick(f"{way.name}, {count} frames")
    write_report(rows, out)


def prepare(way: Way, path: str) -> Inversion:
    """Make an inversion that never stops by itself.

    Raises:
        ValueError: If the codec is one of clips.
    """
    codec = AutoencoderCodec(path)
    if codec.frames is not None:
        raise ValueError(f"Expected a codec of images, but {path!r} is one of clips, whose frames depend on each other.")
    inversion = way.make(codec)
    stopping = replace(inversion.solver.stopping, rtol=0.0, patience=None)
    inversion.solver.stopping = stopping
    return inversion


def planner(way: Way, inversion: Inversion, size: tuple[int, int], at_once: int) -> Callable[[int], int]:
    """Give what predicts, for a number of frames, the peak beyond weights and clip, in bytes."""

    @cache
    def rows(count: int) -> int:
        return plan(inversion, *size, batch_size=count).peak

    def peak(count: int) -> int:
        return plan(inversion, *size, batch_size=1, frames=count).peak if way.whole else rows(min(at_once, count))

    return peak


def metered(way: Way, inversion: Inversion, clip: Tensor, at_once: int) -> int:
    """Meter the peak beyond weights and clip ``(1, 3, T, H, W)``, in bytes, all latents found so far included."""
    solver, latents = inversion.solver, []
    chunks = [clip] if way.whole else torch.split(as_frames(clip), at_once)
    with PeakMemory(clip.device) as peak:
        for place, chunk in enumerate(chunks):
            solver.start(inversion.problem(chunk))
            for _ in range(way.iterations if place in (0, len(chunks) - 1) else FEW):
                solver.step()
            latents.append(solver.result().latent)
            solver.clear()
    return peak.bytes


def noise(count: int, size: int) -> Tensor:
    """Draw a clip ``(1, 3, T, H, W)`` of noise."""
    return torch.rand(1, 3, count, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def weights(inversion: Inversion) -> int:
    """Give the bytes of the codec's weights."""
    return sum(weight.nbytes for weight in inversion.codec.parameters())
