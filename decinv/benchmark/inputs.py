"""What benchmarks run on: several codecs, and generated images in chunks."""

from collections.abc import Sequence
from typing import Literal

import torch

from decinv.batch import Batch
from decinv.codecs.autoencoder import load_codec
from decinv.codecs.base import Codec


def load_codecs(
    names: Sequence[str], dtype: Literal["float32", "bfloat16", "float16"], device: torch.device, size: int
) -> dict[str, Codec]:
    """Load all codecs of a benchmark at its start, so that none is missed late.

    Args:
        names: Codecs as ``load_codec`` takes them, at least one, each once.
        dtype: Number format of their arithmetic.
        device: Where they compute.
        size: Height and width of the images.

    Returns:
        The codecs by name.

    Raises:
        ValueError: If there is no name or one twice, or ``size`` is no multiple of a codec's stride.
    """
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Expected `codecs` to name at least one codec, and each once, but got {list(names)}.")
    codecs: dict[str, Codec] = {name: load_codec(name, dtype, device) for name in names}
    for name, codec in codecs.items():
        if size % codec.stride:
            raise ValueError(f"Expected `size` to be a multiple of {codec.stride}, the stride of {name!r}, but got {size}.")
    return codecs


def split(batch: Batch, batch_size: int, device: torch.device) -> list[Batch]:
    """Cut generated images, with their latents, into chunks of at most ``batch_size`` on a device."""
    assert batch.latent is not None
    parts = zip(torch.split(batch.image, batch_size), torch.split(batch.latent, batch_size), strict=True)
    starts = range(0, len(batch.image), batch_size)
    return [
        Batch(image.to(device), batch.names[i : i + batch_size], latent.to(device))
        for i, (image, latent) in zip(starts, parts, strict=True)
    ]
