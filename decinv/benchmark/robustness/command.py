"""The benchmark of robustness: what can still be recovered from images that were distorted on their way."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.batch import Batch
from decinv.benchmark.conditions import Conditions
from decinv.benchmark.environment import write_environment
from decinv.benchmark.measuring.measure import reports, true_latent
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT, GRADIENT, MAP, PAPER, DecoderMethod
from decinv.benchmark.progress import ticking
from decinv.benchmark.robustness.report import Row, write_report
from decinv.benchmark.summary import summarise
from decinv.benchmark.table import refuse_table
from decinv.codecs.base import Codec
from decinv.dtypes import Dtype
from decinv.images.distortions import Distortion, brighten, compose, crop, frame, jpeg, noise, resize
from decinv.metrics.latent import nmse_db
from decinv.metrics.pixel import psnr_db

DISTORTIONS: dict[str, Distortion] = {
    "none": compose(),
    **{f"JPEG {quality}": partial(jpeg, quality=quality) for quality in (95, 75, 50)},
    "resize 75 %": partial(resize, factor=0.75),
    **{f"noise {std}": partial(noise, std=std) for std in (0.01, 0.05)},
    "brighter 0.1": partial(brighten, shift=0.1),
    "frame 75 %": partial(frame, side=0.75),
    "crop 75 %": partial(crop, side=0.75),
}
"""All distortions by name, in the order of the table."""

RUNS = (("encoder", (0,)), (PAPER, (100,)), (GRADIENT, (50,)), (DEFAULT, (5, 20, 50)), (MAP, (50,)))
"""The methods by name, and the numbers of iterations after which each reports; a backward pass costs about two encodes."""


class Recovered(NamedTuple):
    """What was recovered of ``B`` images, one value an image, ``(B,)``.

    Attributes:
        nmse_db: NMSE of the latent against the true one, scaled latents, dB.
        psnr_distorted_db: PSNR of D(z), clamped, against the distorted image, dB.
        psnr_clean_db: PSNR of D(z), clamped, against the image as it was before, dB.
    """

    nmse_db: Tensor
    psnr_distorted_db: Tensor
    psnr_clean_db: Tensor


def robustness(
    out: Path,
    codecs: Sequence[str] = ("bundled",),
    dtype: Dtype = "float32",
    device: str | None = None,
    count: int = 6,
    size: int = 64,
    batch_size: int = 16,
    seed: int = 1000,
    perturbation: float = 0.1,
    threads: int | None = None,
) -> None:
    """Invert generated images that were saved as JPEG, resized, cropped, brightened or made noisy.

    Distortions of 8-bit images: JPEG of quality 95, 75 and 50; resizing to 75 % of the sides and back; Gaussian noise with
    deviation 0.01 and 0.05 where white is 1; 0.1 brighter; all but the centre of 75 % of the sides blackened (frame), or cut
    off and the centre enlarged (crop). For each of the ten an image takes 200 evaluations, a decode and an encode each, and 50
    with a backward pass instead of the encode. The paper has no such benchmark; its others are of 100 images of 512 px.

    Writes table.csv, table.md, robustness.png and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        codecs: The codecs, such as ``[bundled, DIR]``: ``bundled``, directories saved by diffusers, or hub ids.
        dtype: Number format of the codec's arithmetic; latents and solver state are float32 all the same.
        device: Where to compute, such as ``cpu`` or ``cuda:1``; by default ``cuda`` where there is one, else ``cpu``.
        count: Number of images, at least 2.
        size: Height and width of an image in pixels, a multiple of the codecs' strides.
        batch_size: Images that are inverted together, at least 1.
        seed: Seed of the images and of the perturbation of their latents.
        perturbation: Standard deviation of the Gaussian noise that is added to the encoded images' latents, relative to theirs.
        threads: Threads that torch computes with on the CPU; by default as many as torch chooses.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    conditions = Conditions(codecs, dtype, device, count, size, batch_size, seed, perturbation, threads)
    subjects = conditions.prepare()
    device_name = write_environment(out, options, conditions.place())
    rows: list[Row] = []
    with ticking(len(subjects) * len(DISTORTIONS) * len(RUNS)) as tick:
        for name, codec, clean in subjects:
            for title, distortion in DISTORTIONS.items():
                distorted = distort(distortion, clean)
                for method, marks in RUNS:
                    tick(f"{title}: {method}")
                    pairs = zip(distorted, clean, strict=True)
                    parts = [recover(BY_NAME[method], codec, chunk, whole.image, marks) for chunk, whole in pairs]
                    rows += [join(name, title, method, mark, [part[mark] for part in parts]) for mark in parts[0]]
    write_report(rows, out, conditions.phrase(device_name))


def distort(distortion: Distortion, chunks: Sequence[Batch]) -> list[Batch]:
    """Distort the images of all chunks at once, so that noise differs from chunk to chunk."""
    images = distortion(torch.cat([chunk.image for chunk in chunks]))
    parts = torch.split(images, [len(chunk.image) for chunk in chunks])
    return [chunk._replace(image=image) for chunk, image in zip(chunks, parts, strict=True)]


@torch.no_grad()
def recover(method: DecoderMethod, codec: Codec, batch: Batch, clean: Tensor, marks: Sequence[int]) -> dict[int, Recovered]:
    """Invert one chunk of distorted images.

    Args:
        method: The method.
        codec: The codec whose decoder is inverted.
        batch: Distorted images, and the latents of the images before, on the codec's device.
        clean: Those images ``(B, 3, H, W)``.
        marks: Increasing numbers of iterations.

    Returns:
        What was recovered, by number of iterations.
    """
    truth = codec.scaling.apply(true_latent(batch))
    found: dict[int, Recovered] = {}
    for mark, latent, *_ in reports(method, codec, batch.image, marks):
        decoded = codec.decode(latent).clamp(-1, 1)
        values = (nmse_db(codec.scaling.apply(latent), truth), psnr_db(decoded, batch.image), psnr_db(decoded, clean))
        found[mark] = Recovered(*(value.cpu() for value in values))
    return found


def join(codec: str, distortion: str, method: str, mark: int, parts: Sequence[Recovered]) -> Row:
    """Reduce the values of all chunks to one row."""
    found = Recovered(*(torch.cat(values) for values in zip(*parts, strict=True)))
    error = summarise(found.nmse_db)
    return Row(
        distortion=distortion,
        codec=codec,
        method=method,
        iterations=mark,
        nmse_db=error.mean,
        nmse_db_half_width=error.half_width,
        nmse_db_worst=error.worst,
        psnr_distorted_db=float(found.psnr_distorted_db.mean()),
        psnr_clean_db=float(found.psnr_clean_db.mean()),
    )
