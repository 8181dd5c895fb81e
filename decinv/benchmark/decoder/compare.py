"""Run all methods on the same images, and put what was measured into one row for each method and number of iterations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from decinv.batch import Batch
from decinv.benchmark.measuring.measure import Quality, true_latent
from decinv.benchmark.measuring.metering import Memory, measure_memory
from decinv.benchmark.measuring.race import Entry, Findings, race, warm_up
from decinv.benchmark.summary import summarise
from decinv.codecs.base import Codec
from decinv.metrics.latent import nmse_db


@dataclass(frozen=True)
class Row:
    """One method after one number of iterations, over all images.

    Attributes:
        codec: The codec's name.
        iterations: Evaluations that the method was given; 0 is the start.
        method: The method's name.
        dtype: Number format of the codec's arithmetic.
        nmse_db: Mean NMSE of the scaled latents against the truth, dB.
        nmse_db_half_width: Half-width of the normal 95 % interval of that mean, dB; nan if a value is not finite.
        nmse_db_to_float32: That mean minus the one with the codec in float32, dB; ``None`` where that was not measured.
        nmse_db_worst: Largest NMSE of an image, dB.
        nmse_db_worst_change: Largest change of an image's NMSE from the encoder's, dB; above 0 where one was made worse.
        psnr_db: Mean PSNR of D(z), clamped, against the 8-bit image, dB.
        residual: Mean relative residual ``||E(D(z)) - E(x)|| / ||E(x)||`` of raw latents, D(z) clamped where the codec does.
        decodes: Decodes for each image.
        encodes: Encodes for each image, E(x) included.
        backwards: Backward passes through the decoder for each image.
        seconds: Seconds for each image, from the image to the latent; median over the repeats.
        relative_seconds: Those over the reference method's for as many iterations; median over the repeats, ``None`` where
            the reference has no such run.
        peak_mib: Peak memory of the method beyond codec and images, MiB for each of the images that it inverts at once.
        peak_passes: That peak over that of one encode and decode of as many images.
    """

    codec: str
    iterations: int
    method: str
    dtype: str
    nmse_db: float
    nmse_db_half_width: float
    nmse_db_to_float32: float | None
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
    peak_passes: float


def compare(
    name: str,
    dtype: str,
    codec: Codec,
    chunks: Sequence[Batch],
    entries: Sequence[Entry],
    repeats: int,
    reference: str,
    tick: Callable[[str], None],
) -> list[Row]:
    """Meter the memory of every method, then race them on every chunk, once a repeat.

    Args:
        name: What tables call the codec.
        dtype: What tables call its number format.
        codec: The codec whose decoder is inverted.
        chunks: Images with their true latents, on the codec's device, inverted one chunk at a time.
        entries: The methods, each with the numbers of iterations after which it reports.
        repeats: How often the methods race on each chunk, at least 1.
        reference: Name of the method that times are given relative to.
        tick: Called with a word on what comes next, ``ticks(...)`` times.

    Returns:
        The rows, by number of iterations and then in the order of the methods.
    """
    memory: dict[str, Memory] = {}
    for method, marks in entries:
        tick(f"{name}, {dtype}: memory of {method.name}")
        memory[method.name] = measure_memory(method, codec, chunks[0].image, method.runs(marks)[-1][-1])
    for image in {chunk.image.shape: chunk.image for chunk in chunks}.values():
        warm_up(entries, codec, image)
    races = []
    for repeat in range(repeats):
        findings = []
        for chunk in chunks:
            tick(f"{name}, {dtype}: race {repeat + 1} of {repeats}")
            findings.append(race(entries, codec, chunk))
        races.append(findings)
    count = sum(len(chunk.image) for chunk in chunks)
    start = torch.cat([_encoder_nmse_db(codec, chunk) for chunk in chunks])
    rows = []
    for label, peak in memory.items():
        for mark in races[0][0][label]:
            own = _seconds(races, label, mark, count)
            other = _seconds(races, reference, mark, count) if mark in races[0][0].get(reference, {}) else None
            qualities = [findings[label][mark].quality for findings in races[0]]
            found = Quality(*(torch.cat(part) for part in zip(*qualities, strict=True)))
            rows.append(_row((name, mark, label, dtype), found, start, own, other, peak))
    return sorted(rows, key=lambda row: row.iterations)


def ticks(chunks: int, entries: Sequence[Entry], repeats: int) -> int:
    """Give how often ``compare`` calls ``tick`` for as many chunks."""
    return len(entries) + repeats * chunks


def against_float32(rows: Sequence[Row]) -> list[Row]:
    """Fill in how far each row's mean NMSE is from that of the same codec and method in float32, where there is one."""
    exact = {(row.codec, row.iterations, row.method): row.nmse_db for row in rows if row.dtype == "float32"}
    keys = [(row.codec, row.iterations, row.method) for row in rows]
    return [
        replace(row, nmse_db_to_float32=row.nmse_db - exact[key] if key in exact else None)
        for key, row in zip(keys, rows, strict=True)
    ]


def _seconds(races: Sequence[Sequence[Findings]], method: str, mark: int, count: int) -> list[float]:
    """Give a method's seconds for each of ``count`` images in all chunks, one value a repeat."""
    return [sum(findings[method][mark].seconds for findings in chunks) / count for chunks in races]


@torch.no_grad()
def _encoder_nmse_db(codec: Codec, chunk: Batch) -> Tensor:
    """Give the NMSE ``(B,)`` of z = E(x), dB."""
    scaled = codec.scaling.apply
    return nmse_db(scaled(codec.encode(chunk.image)), scaled(true_latent(chunk))).cpu()


def _row(
    key: tuple[str, int, str, str],
    found: Quality,
    start: Tensor,
    seconds: list[float],
    reference: list[float] | None,
    memory: Memory,
) -> Row:
    """Reduce the measurements of all images to one row; ``key`` are its codec, iterations, method and number format."""
    name, mark, method, dtype = key
    ratios = [own / other for own, other in zip(seconds, reference or [], strict=bool(reference))]
    error = summarise(found.nmse_db)
    return Row(
        codec=name,
        iterations=mark,
        method=method,
        dtype=dtype,
        nmse_db=error.mean,
        nmse_db_half_width=error.half_width,
        nmse_db_to_float32=None,
        nmse_db_worst=error.worst,
        nmse_db_worst_change=float((found.nmse_db - start).max()),
        psnr_db=float(found.psnr_db.mean()),
        residual=float(found.residual.mean()),
        decodes=float(found.decodes.mean()),
        encodes=float(found.encodes.mean()),
        backwards=float(found.backwards.mean()),
        seconds=median(seconds),
        relative_seconds=median(ratios) if ratios else None,
        peak_mib=memory.mib,
        peak_passes=memory.passes,
    )
