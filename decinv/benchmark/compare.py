"""Run all methods on the same images, and put what was measured into one row for each method and number of iterations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from decinv.batch import Batch
from decinv.benchmark.measure import Quality, measure_memory, measure_quality, measure_seconds, true_latent
from decinv.benchmark.methods import Method
from decinv.benchmark.summary import summarise
from decinv.codecs.base import Codec
from decinv.metrics.latent import nmse_db


@dataclass(frozen=True)
class Row:
    """One method after one number of iterations, over all images.

    Attributes:
        iterations: Evaluations that the method was given; 0 is the start.
        method: The method's name.
        nmse_db: Mean NMSE of the scaled latents against the truth, dB.
        nmse_db_half_width: Half-width of the normal 95 % interval of that mean, dB; nan if a value is not finite.
        nmse_db_worst: Largest NMSE of an image, dB.
        nmse_db_worst_change: Largest change of an image's NMSE from the encoder's, dB; above 0 where one was made worse.
        psnr_db: Mean PSNR of D(z), clamped, against the 8-bit image, dB.
        residual: Mean relative residual ``||E(D(z)) - E(x)|| / ||E(x)||`` of raw latents.
        decodes: Decodes for each image.
        encodes: Encodes for each image, E(x) included.
        backwards: Backward passes through the decoder for each image.
        seconds: Seconds for each image, from the image to the latent; median over the repeats.
        relative_seconds: Those over the reference method's for as many iterations; median over the repeats, ``None`` where
            the reference has no such run.
        peak_mib: Peak memory of one chunk beyond codec and images, MiB.
    """

    iterations: int
    method: str
    nmse_db: float
    nmse_db_half_width: float
    nmse_db_worst: float
    nmse_db_worst_change: float
    psnr_db: float
    residual: float
    decodes: float
    encodes: float
    backwards: float
    seconds: float
    relative_seconds: float | None
    peak_mib: float


Times = dict[str, dict[int, list[float]]]
"""Seconds for each image by method and number of iterations, one value a repeat."""


def compare(
    codec: Codec,
    chunks: Sequence[Batch],
    methods: Sequence[Method],
    marks: Sequence[int],
    repeats: int,
    reference: str,
    tick: Callable[[str], None],
) -> list[Row]:
    """Measure the quality and the memory of every method, and then, all kernels being warm, the time of all of them.

    Args:
        codec: The codec whose decoder is inverted.
        chunks: Images with their true latents, on the codec's device, inverted one chunk at a time.
        methods: The methods.
        marks: Increasing numbers of iterations after which to report.
        repeats: How often each method is timed on each chunk, at least 1.
        reference: Name of the method that times are given relative to.
        tick: Called with a word on what comes next, ``ticks(...)`` times.

    Returns:
        The rows, by number of iterations and then in the order of the methods.
    """
    quality: dict[str, dict[int, Quality]] = {}
    memory: dict[str, dict[int, float]] = {}
    for method in methods:
        tick(f"quality of {method.name}")
        parts = [measure_quality(method, codec, chunk, marks) for chunk in chunks]
        quality[method.name] = {
            mark: Quality(*(torch.cat(part) for part in zip(*(p[mark] for p in parts), strict=True))) for mark in parts[0]
        }
        tick(f"memory of {method.name}")
        memory[method.name] = measure_memory(method, codec, chunks[0].image, marks)
    times = _take_times(codec, chunks, methods, marks, repeats, tick)
    start = torch.cat([_encoder_nmse_db(codec, chunk) for chunk in chunks])
    rows = [
        _row(mark, name, found, start, times[name][mark], times[reference].get(mark), memory[name][mark])
        for name in quality
        for mark, found in quality[name].items()
    ]
    return sorted(rows, key=lambda row: row.iterations)


def ticks(chunks: Sequence[Batch], methods: Sequence[Method], repeats: int) -> int:
    """Give how often ``compare`` calls ``tick``."""
    return 2 * len(methods) + repeats * len(chunks)


def _take_times(
    codec: Codec,
    chunks: Sequence[Batch],
    methods: Sequence[Method],
    marks: Sequence[int],
    repeats: int,
    tick: Callable[[str], None],
) -> Times:
    """Time all methods on all chunks, once a repeat."""
    count = sum(len(chunk.image) for chunk in chunks)
    times: Times = {method.name: {} for method in methods}
    for repeat in range(repeats):
        parts = []
        for chunk in chunks:
            tick(f"time, repeat {repeat + 1} of {repeats}")
            parts.append(measure_seconds(methods, codec, chunk.image, marks))
        for name, by_mark in times.items():
            for mark in parts[0][name]:
                by_mark.setdefault(mark, []).append(sum(part[name][mark] for part in parts) / count)
    return times


@torch.no_grad()
def _encoder_nmse_db(codec: Codec, chunk: Batch) -> Tensor:
    """Give the NMSE ``(B,)`` of z = E(x), dB."""
    scaled = codec.scaling.apply
    return nmse_db(scaled(codec.encode(chunk.image)), scaled(true_latent(chunk))).cpu()


def _row(
    mark: int, name: str, found: Quality, start: Tensor, seconds: list[float], reference: list[float] | None, mib: float
) -> Row:
    """Reduce the measurements of all images to one row."""
    ratios = [own / other for own, other in zip(seconds, reference or [], strict=bool(reference))]
    error = summarise(found.nmse_db)
    return Row(
        iterations=mark,
        method=name,
        nmse_db=error.mean,
        nmse_db_half_width=error.half_width,
        nmse_db_worst=error.worst,
        nmse_db_worst_change=float((found.nmse_db - start).max()),
        psnr_db=float(found.psnr_db.mean()),
        residual=float(found.residual.mean()),
        decodes=float(found.decodes.mean()),
        encodes=float(found.encodes.mean()),
        backwards=float(found.backwards.mean()),
        seconds=median(seconds),
        relative_seconds=median(ratios) if ratios else None,
        peak_mib=mib,
    )
