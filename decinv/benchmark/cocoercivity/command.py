"""The benchmark of cocoercivity: Figures 2, 4 and S3 of arXiv 2409.18442, against three references."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from decinv.batch import Batch
from decinv.benchmark.cocoercivity.converged import converge
from decinv.benchmark.cocoercivity.ratios import Ratios, Reference, ratios
from decinv.benchmark.cocoercivity.report import CONVERGED, LAST, TRUTH, Key, write_report
from decinv.benchmark.cocoercivity.visited import visit
from decinv.benchmark.conditions import Conditions
from decinv.benchmark.environment import write_environment
from decinv.benchmark.measuring.measure import true_latent
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT, DecoderMethod
from decinv.benchmark.progress import ticking
from decinv.benchmark.table import refuse_table
from decinv.codecs.base import Codec
from decinv.dtypes import Dtype
from decinv.problems.base import norms
from decinv.problems.decoder import DecoderProblem


@dataclass(frozen=True)
class Followed:
    """A method whose path is looked at.

    Attributes:
        method: The method.
        part: Part of the steps that is looked at; the paper looks at half as many of Adam's.
        bound: What its theorem asks of c_k: Theorem 1 more than rho / 2 for the forward step, Theorem 2 more than
            ``lr (1 - alpha + 2 alpha^2) / (2 (1 - alpha)^2)`` for the inertial one; ``None`` where there is no theorem.
    """

    method: DecoderMethod
    part: float = 1.0
    bound: float | None = None


FOLLOWED = (
    Followed(BY_NAME["forward step 0.001"], bound=0.0005),
    Followed(BY_NAME["inertial KM 0.9, 0.001"], bound=0.086),
    Followed(BY_NAME["paper Adam 0.01"], part=0.5),
    Followed(BY_NAME["forward step 1"], bound=0.5),
    Followed(BY_NAME[DEFAULT]),
)
"""The paper's three methods at its settings, then the two of this package, in the order of the table."""


def cocoercivity(
    out: Path,
    codecs: Sequence[str] = ("bundled",),
    dtype: Dtype = "float32",
    device: str | None = None,
    count: int = 16,
    size: int = 64,
    batch_size: int = 16,
    seed: int = 1000,
    perturbation: float = 0.1,
    steps: int = 100,
    long: int = 200,
    floor: float = 1e-3,
    threads: int | None = None,
) -> None:
    """Measure how cocoercive T is along each method's path, and whether that foretells how near the path ends.

    For each generated image ``c_k = <T(z_k) - T(z_inf), z_k - z_inf> / ||T(z_k) - T(z_inf)||^2``, the smallest for k from 0 to
    ``steps`` (half of that for Adam, as published), against ``||z_K - z_inf||``, with three points for z_inf: the method's own
    iterate number ``long``, as published, which is no fixed point; a converged point, the one of smallest residual that the
    default method and then Anderson acceleration on T alone evaluated in ``long`` iterations each; and the true latent. Each
    image takes ``6 (long + 1) + 1`` evaluations, a decode and an encode each. The paper took 100 images of 512 px and
    iterate number 300: ``--count=100 --long=300``.

    Writes table.csv, table.md, images.csv, cocoercivity.png and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        codecs: The codecs, such as ``[bundled, DIR]``: ``bundled``, directories saved by diffusers, or hub ids.
        dtype: Number format of the codec's arithmetic; latents and solver state are float32 all the same.
        device: Where to compute, such as ``cpu`` or ``cuda:1``; by default ``cuda`` where there is one, else ``cpu``.
        count: Number of images, at least 2.
        size: Height and width of an image in pixels, a multiple of the codecs' strides.
        batch_size: Images that are inverted together, at least 1; each takes the memory of ``2 steps`` latents beside.
        seed: Seed of the images and of the perturbation of their latents.
        perturbation: Standard deviation of the Gaussian noise that is added to the encoded images' latents, relative to theirs.
        steps: Iterations along which c_k is taken, at least 2.
        long: Number of the iterate that is taken for z_inf as published, more than ``steps``.
        floor: Points with ``||T(z_k) - T(z_inf)||`` below this part of ``||E(x)||`` are left out, since c_k would measure the
            rounding of the arithmetic there, which is about 1e-6 in float32; raise it for 16 bits. Against the true latent
            twice ``||T(z*)||`` is the floor where that is more, since T(z*) is the rounding of the image to 8 bits.
        threads: Threads that torch computes with on the CPU; by default as many as torch chooses.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    conditions = Conditions(codecs, dtype, device, count, size, batch_size, seed, perturbation, threads)
    if steps < 2 or long <= steps or not floor > 0:
        raise ValueError(
            "Expected `steps` to be at least 2, `long` more than `steps` and `floor` above 0, "
            f"but got {steps}, {long} and {floor}."
        )
    subjects = conditions.prepare()
    device_name = write_environment(out, options, conditions.place())
    found: dict[Key, Ratios] = {}
    with ticking(len(FOLLOWED) * sum(len(chunks) for _, _, chunks in subjects)) as tick:
        for name, codec, chunks in subjects:
            parts: dict[tuple[str, str], list[Ratios]] = {}
            for chunk in chunks:
                for reference, method, part in measure(codec, chunk, steps, long, floor, tick):
                    parts.setdefault((reference, method), []).append(part)
            for reference in (LAST, CONVERGED, TRUTH):
                for one in FOLLOWED:
                    joined = zip(*parts[reference, one.method.name], strict=True)
                    found[Key(reference, name, one.method.name, round(one.part * steps), one.bound)] = Ratios(
                        *(torch.cat(values) for values in joined)
                    )
    phrase = conditions.phrase(device_name)
    write_report(found, out, f"{phrase}\nfloor {floor:g}; z_inf as published: iterate {long}")


@torch.no_grad()
def measure(
    codec: Codec, chunk: Batch, steps: int, long: int, floor: float, tick: Callable[[str], None]
) -> Iterator[tuple[str, str, Ratios]]:
    """Follow all methods on one chunk, and look at their paths from each reference.

    Args:
        codec: The codec whose decoder is inverted.
        chunk: Images with their true latents, on the codec's device.
        steps: Iterations along which c_k is taken.
        long: Number of the iterate that is taken for z_inf as published.
        floor: As for the command.
        tick: Called before each method with a word on it.

    Yields:
        The reference's name, the method's name, and what was found.
    """
    truth = codec.scaling.apply(true_latent(chunk))
    problem = DecoderProblem(codec, chunk.image)
    size = norms(codec.scaling.scale(problem.target)).cpu()
    known = Reference(truth.cpu(), problem.evaluate(truth).residual.cpu(), floor * size)
    known = known._replace(floor=torch.maximum(known.floor, 2 * norms(known.residual)))
    converged: Reference | None = None
    for one in sorted(FOLLOWED, key=lambda one: one.method.name != DEFAULT):
        tick(one.method.name)
        path = visit(one.method, codec, chunk.image, round(one.part * steps), long)
        if converged is None:
            limit = converge(codec, chunk.image, path.closest, long)
            converged = Reference(limit.closest, limit.closest_residual, floor * size)
        last = Reference(path.last, path.last_residual, floor * size)
        for name, reference in ((LAST, last), (CONVERGED, converged), (TRUTH, known)):
            yield name, one.method.name, ratios(path, reference, known.point, size)
