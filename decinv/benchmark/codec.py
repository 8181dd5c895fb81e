"""The figures of a codec's model card: how well it reconstructs, and how cocoercive its residual map is."""

from pathlib import Path
from statistics import median

import torch

from decinv.benchmark.environment import write_environment
from decinv.benchmark.table import Column, Table, Value, refuse_table
from decinv.codecs.autoencoder import AutoencoderCodec, load_codec
from decinv.data.generated import generate
from decinv.data.listing import list_images
from decinv.data.procedural import procedural_batch
from decinv.images.padding import crop_to_multiple
from decinv.images.reading import read_image
from decinv.metrics.cocoercivity import cocoercivity
from decinv.metrics.pixel import psnr_db
from decinv.problems.decoder import DecoderProblem

COLUMNS = (
    Column("quantity", "quantity", "what was measured"),
    Column("value", "value", "its value", ".4g"),
    Column("note", "note", "how"),
)


def codec(
    out: Path,
    codec: str = "bundled",
    images: str | None = None,
    count: int = 64,
    size: int = 64,
    seed: int = 0,
    steps: int = 20,
) -> None:
    """Measure a codec on held-out procedural images, and on images of your own.

    Writes table.csv, table.md and environment.json, and prints the table.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        codec: The codec: ``bundled``, a directory saved by diffusers, or a hub id.
        images: A folder, glob or manifest of images to measure too, each cut to the codec's stride; by default none.
        count: Number of procedural images, at least 2.
        size: Their height and width in pixels.
        seed: Their seed; the bundled codec is trained with seed 1.
        steps: Forward steps with rho = 1 along which the cocoercivity is measured, at least 1.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    if count < 2 or steps < 1:
        raise ValueError(f"Expected `count` to be at least 2 and `steps` at least 1, but got {count} and {steps}.")
    model = load_codec(codec)
    write_environment(out, options, torch.device("cpu"))
    rows = [reconstruction(model, count, size, seed), *own(model, images), *along_the_path(model, count, size, seed, steps)]
    table = Table(COLUMNS, rows)
    table.write(out, below="\n")
    table.print()


@torch.no_grad()
def reconstruction(codec: AutoencoderCodec, count: int, size: int, seed: int) -> dict[str, Value]:
    """Give the mean PSNR of D(E(x)) on procedural images."""
    values = [_psnr(codec, image) for image in torch.split(procedural_batch(count, size, seed), 8)]
    note = f"mean of {count} procedural images of {size} px, seed {seed}"
    return {"quantity": "PSNR of D(E(x)), dB", "value": float(torch.cat(values).mean()), "note": note}


@torch.no_grad()
def own(codec: AutoencoderCodec, images: str | None) -> list[dict[str, Value]]:
    """Give the PSNR of D(E(x)) on each image of a listing."""
    rows: list[dict[str, Value]] = []
    for entry in () if images is None else list_images(images):
        image = crop_to_multiple(read_image(entry.path), codec.stride)[None]
        height, width = image.shape[-2:]
        note = f"{entry.name}, {height} x {width}"
        rows.append({"quantity": "PSNR of D(E(x)), dB", "value": float(_psnr(codec, image)), "note": note})
    return rows


def _psnr(codec: AutoencoderCodec, image: torch.Tensor) -> torch.Tensor:
    return psnr_db(codec.decode(codec.encode(image)).clamp(-1, 1), image)


@torch.no_grad()
def along_the_path(codec: AutoencoderCodec, count: int, size: int, seed: int, steps: int) -> list[dict[str, Value]]:
    """Give the smallest cocoercivity along the forward step's path to the true latent, for the median and the worst image."""
    smallest = []
    batch = generate(codec, count, size, seed)
    assert batch.latent is not None
    for image, latent in zip(torch.split(batch.image, 8), torch.split(batch.latent, 8), strict=True):
        problem = DecoderProblem(codec, image)
        truth, point = codec.scaling.apply(latent), problem.start()
        values = []
        for _ in range(steps):
            residual = problem.evaluate(point).residual
            values.append(cocoercivity(residual, point - truth))
            point = point - residual
        smallest.append(torch.stack(values).nan_to_num(torch.inf).amin(0))
    every = torch.cat(smallest)
    note = f"smallest over {steps} forward steps with rho = 1 towards the true latent, {count} generated images of {size} px"
    return [
        {"quantity": "cocoercivity, median image", "value": median(every.tolist()), "note": note},
        {"quantity": "cocoercivity, worst image", "value": float(every.min()), "note": note},
        {
            "quantity": "images with cocoercivity above 0.5",
            "value": float((every > 0.5).float().mean()),
            "note": "part of them",
        },
    ]
