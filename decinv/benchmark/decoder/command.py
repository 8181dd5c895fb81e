"""The benchmark of decoder inversion: every method on the same generated images, whose latents are known."""

from collections.abc import Sequence
from pathlib import Path

from decinv.benchmark.conditions import Conditions, check_marks
from decinv.benchmark.decoder.compare import against_float32, compare, ticks
from decinv.benchmark.decoder.report import write_report
from decinv.benchmark.environment import write_environment
from decinv.benchmark.measuring.methods import GRADIENT, METHODS
from decinv.benchmark.measuring.published import PUBLISHED
from decinv.benchmark.measuring.race import Entry
from decinv.benchmark.progress import ticking
from decinv.benchmark.table import refuse_table
from decinv.codecs.autoencoder import load_codec
from decinv.dtypes import Dtype


def decoder(
    out: Path,
    codecs: Sequence[str] = ("bundled",),
    dtypes: Sequence[Dtype] | None = None,
    device: str | None = None,
    count: int = 32,
    size: int = 64,
    batch_size: int = 16,
    seed: int = 1000,
    perturbation: float = 0.1,
    marks: Sequence[int] = (20, 30, 50, 100, 200),
    early: Sequence[int] = (1, 2, 3, 5, 10),
    published: Sequence[int] = (100,),
    repeats: int = 1,
    threads: int | None = None,
) -> None:
    """Compare all methods of decoder inversion on the same generated images: Table S1 and Fig. 3 of arXiv 2409.18442, extended.

    Writes table.csv, matched.csv (time at the same NMSE), table.md with both, pareto.png and environment.json, and prints the
    tables.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        codecs: The codecs, such as ``[bundled, DIR]``: ``bundled``, directories saved by diffusers, or hub ids.
        dtypes: Number formats of the codec's arithmetic, such as ``[float32, float16]``; by default all three on CUDA, else
            float32 alone. Images are generated in float32, and latents and solver state are float32 all the same.
        device: Where to compute, such as ``cpu`` or ``cuda:1``; by default ``cuda`` where there is one, else ``cpu``.
        count: Number of images, at least 2.
        size: Height and width of an image in pixels, a multiple of the codecs' strides.
        batch_size: Images that are inverted together, at least 1.
        seed: Seed of the images and of the perturbation of their latents.
        perturbation: Standard deviation of the Gaussian noise that is added to the encoded images' latents, relative to theirs.
        marks: Numbers of iterations after which to report, increasing; methods with a schedule have a run for each.
        early: Further numbers for the methods without a schedule, increasing; may be empty.
        published: Numbers of iterations after which to report the published loops, increasing; empty to leave them out. They
            take most of the time that an iteration costs, since they go image by image and copy the autoencoder each time.
        repeats: How often all methods run, at least 1; times are medians.
        threads: Threads that torch computes with on the CPU; by default as many as torch chooses.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    conditions = Conditions(codecs, "float32", device, count, size, batch_size, seed, perturbation, threads)
    check_marks(marks)
    for option, numbers in (("early", early), ("published", published)):
        if numbers:
            check_marks(numbers, option)
    place = conditions.place()
    default: Sequence[Dtype] = ("float32", "bfloat16", "float16") if place.type == "cuda" else ("float32",)
    formats = default if dtypes is None else dtypes
    if repeats < 1 or not formats or len(set(formats)) < len(formats):
        named = f"{repeats} and {', '.join(formats) or 'none'}"
        raise ValueError(f"Expected `repeats` at least 1, and at least one of `dtypes`, all different, but got {named}.")
    subjects = conditions.prepare()
    device_name = write_environment(out, options, place)
    entries = {dtype: enter(dtype, marks, early, published) for dtype in formats}
    rows = []
    with ticking(sum(ticks(len(subject.chunks), entries[dtype], repeats) for subject in subjects for dtype in formats)) as tick:
        for path, (name, exact, chunks) in zip(codecs, subjects, strict=True):
            found = []
            for dtype in formats:
                codec = exact if dtype == "float32" else load_codec(path, dtype, place)
                found += compare(name, dtype, codec, chunks, entries[dtype], repeats, GRADIENT, tick)
            rows += sorted(found, key=lambda row: row.iterations)
    write_report(against_float32(rows), out, conditions.phrase(device_name, formats))


def enter(dtype: Dtype, marks: Sequence[int], early: Sequence[int], published: Sequence[int]) -> list[Entry]:
    """Say which methods take part with a codec in some number format, and where they report.

    Args:
        dtype: The number format; the published gradient method takes part in float32 alone.
        marks: Increasing numbers of iterations for all of the package's methods.
        early: Further ones for those without a schedule.
        published: Increasing numbers of iterations for the published loops; empty to leave them out.
    """
    own = [Entry(method, marks if method.scheduled else sorted({*early, *marks})) for method in METHODS]
    loops = [Entry(method, published) for method in PUBLISHED if dtype == "float32" or not method.gradient]
    return own + (loops if published else [])
