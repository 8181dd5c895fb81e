"""The benchmark of evaluations needed: how soon each method of decoder inversion reaches an error of the latent."""

from collections.abc import Sequence
from pathlib import Path

from decinv.benchmark.conditions import Conditions, check_marks
from decinv.benchmark.environment import write_environment
from decinv.benchmark.measuring.methods import METHODS
from decinv.benchmark.measuring.trajectory import follow, follow_all, follow_ticks
from decinv.benchmark.progress import ticking
from decinv.benchmark.table import refuse_table
from decinv.benchmark.thresholds.report import write_thresholds
from decinv.dtypes import Dtype

COMPARED = tuple(method for method in METHODS if method.name != "forward step 0.001")
"""The methods; the paper's forward step comes nowhere near the levels within 100 evaluations."""

LEVELS = (-18.0, -20.0, -22.0, -24.0, -26.0)

MARKS = (10, 20, 50, 100)


def thresholds(
    out: Path,
    codecs: Sequence[str] = ("bundled",),
    dtype: Dtype = "float32",
    device: str | None = None,
    count: int = 16,
    size: int = 64,
    batch_size: int = 16,
    seed: int = 1000,
    perturbation: float = 0.1,
    levels: Sequence[float] = LEVELS,
    marks: Sequence[int] = MARKS,
    threads: int | None = None,
) -> None:
    """Count the evaluations that each method of decoder inversion needs to reach levels of the mean NMSE.

    At the default marks each image takes about 480 evaluations of E(D(z)), and 280 of D(z) with a backward pass. The paper
    has no such table; its others are of 100 images of 512 px.

    Writes table.csv, table.md, thresholds.png and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        codecs: The codecs, such as ``[bundled,DIR]``: ``bundled``, directories saved by diffusers, or hub ids.
        dtype: Number format of the codecs' arithmetic; latents and solver state are float32 all the same.
        device: Where to compute, such as ``cpu`` or ``cuda:1``; by default ``cuda`` where there is one, else ``cpu``.
        count: Number of images, at least 2.
        size: Height and width of an image in pixels, a multiple of the codecs' strides.
        batch_size: Images that are inverted together, at least 1.
        seed: Seed of the images and of the perturbation of their latents.
        perturbation: Standard deviation of the Gaussian noise that is added to the encoded images' latents, relative to theirs.
        levels: Levels of the mean NMSE in dB, decreasing, such as ``[-18,-20]``.
        marks: Lengths of the runs in evaluations, increasing; a method with a schedule is run once for each, every other one
            once for the last.
        threads: Threads that torch computes with on the CPU; by default as many as torch chooses.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    conditions = Conditions(codecs, dtype, device, count, size, batch_size, seed, perturbation, threads)
    check_marks(marks)
    if not levels or list(levels) != sorted(set(levels), reverse=True):
        raise ValueError(f"Expected `levels` to be decreasing, but got {list(levels)}.")
    subjects = conditions.prepare()
    device_name = write_environment(out, options, conditions.place())
    total = sum(follow_ticks(COMPARED, chunks, marks) + len(COMPARED) for _, _, chunks in subjects)
    found = {}
    with ticking(total) as tick:
        for name, codec, chunks in subjects:
            for method in COMPARED:
                tick("warm-up, so that times are those of warm kernels")
                follow(method, codec, chunks[0], method.runs([1])[0])
            found[name] = {method: follow_all(method, codec, chunks, marks, tick) for method in COMPARED}
    write_thresholds(found, levels, out, conditions.phrase(device_name))
