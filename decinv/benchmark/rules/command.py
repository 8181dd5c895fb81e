"""The benchmark of update rules and learning rates: Table S2 of arXiv 2409.18442, with steps of other sizes beside its own."""

from collections.abc import Sequence
from pathlib import Path

from decinv.benchmark.conditions import Conditions, check_marks
from decinv.benchmark.environment import write_environment
from decinv.benchmark.measuring.trajectory import follow_all, follow_ticks
from decinv.benchmark.progress import ticking
from decinv.benchmark.rules.families import RULES
from decinv.benchmark.rules.report import write_rules
from decinv.benchmark.table import refuse_table
from decinv.dtypes import Dtype

MARKS = (5, 20, 30, 50, 100)
"""Those of the published table, and an early one."""


def rules(
    out: Path,
    codecs: Sequence[str] = ("bundled",),
    dtype: Dtype = "float32",
    device: str | None = None,
    count: int = 8,
    size: int = 64,
    batch_size: int = 16,
    seed: int = 1000,
    perturbation: float = 0.1,
    marks: Sequence[int] = MARKS,
    threads: int | None = None,
) -> None:
    """Compare update rules and learning rates of gradient-free decoder inversion on the same generated images.

    At the default marks each image takes about 1715 evaluations of E(D(z)). The paper took 100 images of Stable Diffusion 2.1
    at 512 px.

    Writes table.csv, table.md, rules.png and environment.json, and prints a table of the mean NMSE.

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
        marks: Numbers of evaluations after which to report, increasing, such as ``[5, 20]``; a rule with a schedule is run
            once for each.
        threads: Threads that torch computes with on the CPU; by default as many as torch chooses.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    conditions = Conditions(codecs, dtype, device, count, size, batch_size, seed, perturbation, threads)
    check_marks(marks)
    subjects = conditions.prepare()
    device_name = write_environment(out, options, conditions.place())
    total = sum(follow_ticks([rule.method for rule in RULES], chunks, marks) for _, _, chunks in subjects)
    with ticking(total) as tick:
        found = {
            name: {rule: follow_all(rule.method, codec, chunks, marks, tick) for rule in RULES}
            for name, codec, chunks in subjects
        }
    write_rules(found, marks, out, conditions.phrase(device_name))
