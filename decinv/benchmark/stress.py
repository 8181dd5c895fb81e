"""The benchmark of hard codecs: where the default converges, where it stops, and what it says, next to two simpler rules."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from rich.progress import track
from torch.optim import Adam

from decinv.batch import Batch
from decinv.benchmark.environment import choose_device, describe_environment
from decinv.benchmark.methods import DEFAULT, Method
from decinv.benchmark.stress_cases import Case, cases_of, fixed_cases
from decinv.benchmark.stress_measure import StressRow, measure_start, measure_stress
from decinv.benchmark.stress_report import write_report
from decinv.benchmark.table import refuse_table
from decinv.data.generated import decode_rounded, draw_latent
from decinv.problems.decoder import DecoderProblem
from decinv.updates.anderson import Anderson
from decinv.updates.forward import ForwardStep
from decinv.updates.scheduled import Scheduled, WarmupCosine

MARKS = (5, 20, 50, 100, 200)

LONGEST = 100
"""Iterations of the paper's method, which its schedule spans; only the default is run beyond them."""

METHODS = (
    Method("forward step 1", DecoderProblem, partial(ForwardStep, lr=1.0)),
    Method(
        "paper Adam 0.01",
        DecoderProblem,
        partial(Scheduled, rule=partial(Adam, lr=0.01), schedule=partial(WarmupCosine, steps=LONGEST, hold_from=0.8)),
    ),
    Method(DEFAULT, DecoderProblem, Anderson),
)
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
    to 16 bits; and linear codecs have an E(D(.)) with eigenvalues beyond what a forward step bears. Writes table.csv, table.md,
    stress.png and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        codecs: The codecs that are made hard: ``bundled``, directories saved by diffusers, or hub ids.
        device: Where to compute, such as ``cpu`` or ``cuda:1``; by default ``cuda`` where there is one, else ``cpu``.
        count: Number of images, at least 1, inverted together.
        size: Height and width of an image in pixels, a multiple of the codecs' strides.
        seed: Seed of the images and of the perturbation of their latents.
        perturbation: Standard deviation of the Gaussian noise that is added to the encoded images' latents, relative to theirs.
        marks: Numbers of iterations after which to report, increasing; beyond 100 for the default alone.
        threads: Threads that torch computes with on the CPU; by default as many as torch chooses.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = {**locals(), "out": str(out), "codecs": list(codecs), "marks": list(marks)}
    refuse_table(out)
    if not codecs or count < 1 or (threads is not None and threads < 1):
        raise ValueError(
            f"Expected a codec, and `count` and `threads` at least 1, but got {list(codecs)}, {count} and {threads}."
        )
    if not marks or not 1 <= marks[0] <= LONGEST or list(marks) != sorted(set(marks)):
        raise ValueError(f"Expected `marks` to be increasing, the first from 1 to {LONGEST}, but got {list(marks)}.")
    if threads is not None:
        torch.set_num_threads(threads)
    place = choose_device(device)
    out.mkdir(parents=True, exist_ok=True)
    environment = {"options": options, **describe_environment(place)}
    (out / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")

    own = [(path, case) for path in codecs for case in cases_of(path)]
    cases = [(_name(path, case, len(codecs)), case) for path, case in own] + [(case.name, case) for case in fixed_cases()]
    rows: list[StressRow] = []
    for name, case in track(cases, "codecs", transient=True):
        rows += run_case(name, case, place, count, size, seed, perturbation, marks)
    conditions = (
        f"{count} generated images of {size} px, seed {seed}; made from {', '.join(Path(path).name for path in codecs)}; "
        f"{environment['device_name']} ({place})"
    )
    write_report(rows, out, conditions)


def _name(path: str, case: Case, codecs: int) -> str:
    """Name a case of one of several codecs."""
    return case.name if codecs == 1 else f"{Path(path).name}, {case.name}"


@torch.no_grad()
def run_case(
    name: str, case: Case, device: torch.device, count: int, size: int, seed: int, perturbation: float, marks: Sequence[int]
) -> list[StressRow]:
    """Run all methods on one codec, and give their rows."""
    codec = case.codec().to(device)
    source = codec if case.source is None else case.source().to(device)
    latent = torch.stack([draw_latent(source, index, size, seed, perturbation) for index in range(count)])
    names = tuple(str(index) for index in range(count))
    batch = Batch(decode_rounded(codec, latent).to(device), names, latent.to(device))
    start = measure_start(codec, batch)
    rows = []
    for method in METHODS:
        reached = [mark for mark in marks if mark <= LONGEST or method.name == DEFAULT]
        rows.append(measure_stress(name, codec, batch, method, start, reached))
    return rows
