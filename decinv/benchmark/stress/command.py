"""The benchmark of hard codecs: where the default converges, where it stops, and what it says, next to two simpler rules."""

from collections.abc import Sequence
from pathlib import Path

import torch

from decinv.benchmark.conditions import Conditions, check_marks
from decinv.benchmark.environment import write_environment
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT, PAPER, DecoderMethod, paper_adam
from decinv.benchmark.progress import ticking
from decinv.benchmark.stress.cases import Case, cases_of, fixed_cases
from decinv.benchmark.stress.measure import StressRow, measure_start, measure_stress
from decinv.benchmark.stress.report import write_report
from decinv.benchmark.table import refuse_table
from decinv.problems.decoder import DecoderProblem

MARKS = (5, 20, 50, 100, 200)

LONGEST = 100
"""Iterations of the paper's method, which its schedule spans; only the default is run beyond them."""

METHODS = (BY_NAME["forward step 1"], DecoderMethod(PAPER, DecoderProblem, paper_adam(0.01, LONGEST)), BY_NAME[DEFAULT])
"""The default, and what it is compared with."""


def stress(
    out: Path,
    codecs: Sequence[str] = ("bundled",),
    device: str | None = None,
    count: int = 2,
    size: int = 32,
    seed: int = 1000,
    perturbation: float = 0.1,
    marks: Sequence[int] = MARKS,
    threads: int | None = None,
) -> None:
    """Try the default update rule on codecs that are made hard on purpose.

    Encoders are rotated, scaled, mixed, made singular and made constant; weights are spoilt or random; every layer is rounded
    to 16 bits, or the factors of convolutions to TF32; and linear codecs have an E(D(.)) with eigenvalues beyond what a forward
    step bears. Each of the 20 takes up to 560 evaluations an image at the default marks. The paper has no such benchmark.

    Writes table.csv, table.md, stress.png and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        codecs: The codecs that are made hard: ``bundled``, directories saved by diffusers, or hub ids.
        device: Where to compute, such as ``cpu`` or ``cuda:1``; by default ``cuda`` where there is one, else ``cpu``.
        count: Number of images, at least 2, inverted together.
        size: Height and width of an image in pixels, a multiple of the codecs' strides.
        seed: Seed of the images and of the perturbation of their latents.
        perturbation: Standard deviation of the Gaussian noise that is added to the encoded images' latents, relative to theirs.
        marks: Numbers of iterations after which to report, increasing; beyond 100 for the default alone.
        threads: Threads that torch computes with on the CPU; by default as many as torch chooses.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    conditions = Conditions(codecs, "float32", device, count, size, count, seed, perturbation, threads)
    check_marks(marks)
    if marks[0] > LONGEST:
        raise ValueError(f"Expected the first of `marks` to be at most {LONGEST}, but got {list(marks)}.")
    conditions.prepare()
    device_name = write_environment(out, options, conditions.place())
    own = [(name, case) for name, path in zip(conditions.names, codecs, strict=True) for case in cases_of(path)]
    cases = [(case.name if len(codecs) == 1 else f"{name}, {case.name}", case) for name, case in own]
    cases += [(case.name, case) for case in fixed_cases()]
    rows: list[StressRow] = []
    with ticking(len(cases)) as tick:
        for name, case in cases:
            tick(name)
            rows += run_case(name, case, conditions, marks)
    write_report(rows, out, f"made from: {conditions.phrase(device_name)}")


@torch.no_grad()
def run_case(name: str, case: Case, conditions: Conditions, marks: Sequence[int]) -> list[StressRow]:
    """Run all methods on one codec, and give their rows.

    Args:
        name: What the rows call the codec.
        case: The codec.
        conditions: What it runs on; all images are inverted together.
        marks: Increasing numbers of iterations.
    """
    place = conditions.place()
    codec = case.codec().to(place)
    (batch,) = conditions.images(codec if case.source is None else case.source().to(place))
    start = measure_start(codec, batch)
    rows = []
    for method in METHODS:
        reached = [mark for mark in marks if mark <= LONGEST or method.name == DEFAULT]
        rows.append(measure_stress(name, codec, batch, method, start, reached))
    return rows
