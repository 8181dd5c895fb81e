"""The benchmark of decoders themselves: what an 8-bit image leaves to be found of its latent, by whatever method."""

from collections.abc import Sequence
from pathlib import Path

import torch

from decinv.batch import Batch
from decinv.benchmark.conditions import Conditions
from decinv.benchmark.environment import write_environment
from decinv.benchmark.invertibility.report import Spectrum, write_invertibility
from decinv.benchmark.measuring.measure import advance, begin, reported, true_latent
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT
from decinv.benchmark.progress import ticking
from decinv.benchmark.table import refuse_table
from decinv.codecs.base import Codec
from decinv.metrics.conditioning import attainable_nmse_db, singular_values
from decinv.metrics.latent import nmse_db


def invertibility(
    out: Path,
    codecs: Sequence[str] = ("bundled",),
    device: str | None = None,
    count: int = 16,
    size: int = 64,
    directions: int = 16,
    seed: int = 1000,
    perturbation: float = 0.1,
    iterations: int = 50,
    threads: int | None = None,
) -> None:
    """Tell how much of a latent an image rounded to 8 bits shows, and how much of that the default method finds.

    D is linearised at each true latent, by a pass for each of the latent's values. Rounding is taken for white noise of its own
    variance. The error that is left is given for the estimate of maximum likelihood, which uses the pixels alone, and for the
    posterior mean under a white prior around the encoder's latent, whose spread is that of the encoder's error on the image,
    which no method knows.

    Writes table.csv, table.md, spectrum.png and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        codecs: The codecs, such as ``[bundled,DIR]``: ``bundled``, directories saved by diffusers, or hub ids.
        device: Where to compute, such as ``cpu`` or ``cuda:1``; by default ``cuda`` where there is one, else ``cpu``.
        count: Number of images, at least 2.
        size: Height and width of an image in pixels, a multiple of the codecs' strides; the Jacobian has to fit into memory.
        directions: Directions of a latent that are differentiated together, at least 1; images are inverted one by one.
        seed: Seed of the images and of the perturbation of their latents.
        perturbation: Standard deviation of the Gaussian noise that is added to the encoded images' latents, relative to theirs.
        iterations: Iterations of the default method, at least 1.
        threads: Threads that torch computes with on the CPU; by default as many as torch chooses.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    conditions = Conditions(codecs, "float32", device, count, size, 1, seed, perturbation, threads)
    if min(iterations, directions) < 1:
        raise ValueError(f"Expected `iterations` and `directions` to be at least 1, but got {iterations} and {directions}.")
    subjects = conditions.prepare()
    device_name = write_environment(out, options, conditions.place())
    found = {}
    with ticking(count * len(subjects)) as tick:
        for subject in subjects:
            parts: list[Spectrum] = []
            for single in subject.chunks:
                tick(f"{subject.name}: image {len(parts) + 1}")
                parts.append(_look(subject.codec, single, iterations, directions))
            found[subject.name] = Spectrum.join(parts)
    write_invertibility(found, iterations, out, conditions.phrase(device_name))


@torch.no_grad()
def _look(codec: Codec, single: Batch, iterations: int, at_once: int) -> Spectrum:
    """Linearise D at the true latent of one image, and invert it by the default method."""
    image, scaled = single.image, codec.scaling.apply(true_latent(single))
    encoded = codec.scaling.apply(codec.encode(image))
    solver = begin(BY_NAME[DEFAULT], codec, image, iterations)
    advance(solver, iterations)
    singular = singular_values(lambda point: codec.picture(codec.scaling.invert(point)), scaled, at_once)
    spread = (encoded - scaled).flatten(1).square().mean(1).sqrt()
    return Spectrum(
        singular.cpu(),
        spread.cpu(),
        nmse_db(encoded, scaled).cpu(),
        nmse_db(codec.scaling.apply(reported(solver)), scaled).cpu(),
        attainable_nmse_db(singular, scaled).cpu(),
        attainable_nmse_db(singular, scaled, spread=spread).cpu(),
    )
