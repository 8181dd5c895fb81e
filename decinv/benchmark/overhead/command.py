"""What a step of an inversion costs beyond E and D."""

import statistics
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch

from decinv.benchmark.environment import write_environment
from decinv.benchmark.long_runs.soak import draw
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT
from decinv.benchmark.overhead.measure import MeteredCodec, StepTime, time_inversion, time_nothing
from decinv.benchmark.table import Column, Table, Value, refuse_table
from decinv.codecs import Codec, LinearCodec, load_codec
from decinv.problems.decoder import DecoderProblem

EMPTY = "empty step"

LINEAR = "LinearCodec"

COLUMNS = (
    Column("codec", "codec", f"the codec; '{LINEAR}' has the same shapes, and takes next to nothing"),
    Column("method", "method", f"the method; '{EMPTY}' is a module of Lightning that decodes and encodes, and no more"),
    Column("steps", "steps", "steps that were measured"),
    Column("codec_ms", "E and D, ms", "median CPU time of E and D in a step", ".2f"),
    Column("step_ms", "step, ms", "median CPU time of a step beyond E and D", ".2f"),
    Column("mean_ms", "mean, ms", "mean CPU time of a step beyond E and D", ".2f"),
)


def overhead(
    out: Path,
    methods: Sequence[str] = ("forward step 1", DEFAULT),
    codec: str = "bundled",
    count: int = 32,
    size: int = 64,
    batch_size: int = 4,
    steps: int = 50,
    rounds: int = 2,
    threads: int = 1,
) -> None:
    """Measure the CPU time of a step beyond E and D on the CPU, with all callbacks and TensorBoard, and of an empty step.

    Every round runs each method in turn, so that what else the machine does meets all of them alike. Images are noise, of
    which none converges. What follows a chunk, such as its files, is not part of a step. The same is measured with a linear
    codec, whose E and D take next to nothing: a network's activations drive what the step needs out of the processor's caches,
    and what it takes to read that again is no work of the step's.

    Writes table.csv, table.md and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        methods: Names of gradient-free methods of the benchmark ``decoder``.
        codec: ``bundled``, a directory saved by diffusers, or a hub id.
        count: Number of images, more than ``batch_size``.
        size: Their height and width in pixels, a multiple of the codec's stride.
        batch_size: Images that are inverted together.
        steps: Steps of each image, at least 3.
        rounds: How often each method runs.
        threads: Threads that torch computes with; the time of others than the trainer's own is not seen.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    known = [
        name
        for name, method in BY_NAME.items()
        if method.rule is not None and method.problem is DecoderProblem and not method.gradient_steps
    ]
    if unknown := [name for name in methods if name not in known]:
        raise ValueError(f"Expected `methods` among {'; '.join(known)}, but got {'; '.join(unknown)}.")  # which have commas
    if count <= batch_size or steps < 3 or rounds < 1:
        raise ValueError(
            "Expected `count` above `batch_size`, `steps` of at least 3 and `rounds` of at least 1, but got "
            f"{count}, {batch_size}, {steps} and {rounds}."
        )
    rules = {name: rule for name, method in BY_NAME.items() if name in methods and (rule := method.rule) is not None}
    torch.set_num_threads(threads)
    write_environment(out, options, torch.device("cpu"))
    network = load_codec(codec)
    linear = LinearCodec([0.8] * network.latent_channels, network.stride)
    codecs: dict[str, Codec] = {codec: network, LINEAR: linear}
    latent = torch.randn(batch_size, network.latent_channels, size // network.stride, size // network.stride)
    times: dict[tuple[str, str], list[StepTime]] = {(place, name): [] for place in codecs for name in (EMPTY, *rules)}
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        draw(images, count, size)
        for number, (place, inner) in product(range(rounds), codecs.items()):
            metered, run = MeteredCodec(inner), Path(folder) / f"{number}" / type(inner).__name__
            times[place, EMPTY] += time_nothing(metered, latent, -(-count // batch_size), steps, run)
            for name, rule in rules.items():
                times[place, name] += time_inversion(metered, rule, images, batch_size, steps, run / name)
    table = Table(COLUMNS, [_row(*where, found) for where, found in times.items()])
    table.write(out, below="\n")
    table.print()


def _row(codec: str, name: str, times: list[StepTime]) -> dict[str, Value]:
    coding, rest = zip(*times, strict=True)
    middles = {"codec_ms": statistics.median(coding), "step_ms": statistics.median(rest)}
    return {"codec": codec, "method": name, "steps": len(times), **middles, "mean_ms": statistics.fmean(rest)}
