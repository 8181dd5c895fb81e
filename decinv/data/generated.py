"""Images whose true latents are known, since they were decoded from them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from decinv.batch import Batch, Failure
from decinv.codecs.base import Codec
from decinv.data.buckets import Sample, gather
from decinv.data.indexed import IndexedData
from decinv.data.latents import latent_size, list_latents, load_latent
from decinv.data.procedural import procedural_image
from decinv.images.eight_bit import round_to_8_bits
from decinv.ranges import refuse_below
from decinv.runs import Input


@torch.no_grad()
def decode_rounded(codec: Codec, latent: Tensor) -> Tensor:
    """Decode raw latents to images as an 8-bit file would hold them.

    Args:
        codec: The codec; its device does the work.
        latent: Raw latents with shape ``(B, C, h, w)``, or ``(B, C, t, h, w)`` of clips.

    Returns:
        ``D(z)``, clamped to [-1, 1] and rounded to the 256 grey levels, ``(B, 3, H, W)`` or ``(B, 3, T, H, W)``, float32, on
        the CPU.
    """
    return round_to_8_bits(codec.decode(latent.to(codec.device)).cpu())


@torch.no_grad()
def draw_latent(codec: Codec, index: int, size: int = 64, seed: int = 1000, perturbation: float = 0.1) -> Tensor:
    """Draw a raw latent ``z = E(x) + perturbation * std(E(x)) * n`` of the codec's, in scaled latents.

    x is a procedural image, n is standard normal, and std is that of the one latent. Latents so drawn lie near those of
    images, but are no fixed points of ``E(D(.))``, so that the encoder alone does not find them.

    Args:
        codec: The codec; its device does the work.
        index: Number of the sample in the infinite sequence of its seed, at least 0; samples do not depend on each other.
        size: Height and width of the image in pixels, at least 8 and a multiple of the codec's stride.
        seed: Seed of the sequence, at least 0.
        perturbation: Size of the noise relative to the latent's standard deviation, at least 0.

    Returns:
        A raw latent with shape ``(C, size / stride, size / stride)``, float32, on the CPU.

    Raises:
        ValueError: If an argument is out of range.
    """
    refuse_below(0, perturbation=perturbation)
    return perturbed_latent(codec, procedural_image(index, size, seed), np.random.default_rng([seed, index, 1]), perturbation)


@torch.no_grad()
def perturbed_latent(codec: Codec, image: Tensor, rng: np.random.Generator, perturbation: float) -> Tensor:
    """Give the raw latent ``E(x) + perturbation * std(E(x)) * n`` of an image or a clip, in scaled latents; n from ``rng``."""
    scaled = codec.scaling.apply(codec.encode(image[None].to(codec.device)))[0].cpu()
    noise = rng.standard_normal(tuple(scaled.shape), dtype=np.float32)
    return codec.scaling.invert(scaled + perturbation * scaled.std() * torch.from_numpy(noise))


def generate(codec: Codec, count: int = 32, size: int = 64, seed: int = 1000, perturbation: float = 0.1) -> Batch:
    """Make images whose true latents are known; see ``draw_latent`` and ``decode_rounded``.

    Args:
        codec: The codec; its device does the work.
        count: Number of images, at least 1.
        size: Height and width of an image in pixels, at least 8 and a multiple of the codec's stride.
        seed: Seed of the images and the noise, at least 0.
        perturbation: Size of the noise relative to the latent's standard deviation, at least 0.

    Returns:
        The images, and the raw latents that they were decoded from, on the CPU.

    Raises:
        ValueError: If an argument is out of range.
    """
    refuse_below(1, count=count)
    (batch,) = gather(_drawn(codec, count, size, seed, perturbation), count, codec.stride, max_pixels=count * size * size)
    return batch


def _drawn(codec: Codec, count: int, size: int, seed: int, perturbation: float) -> Iterator[Sample]:
    for index in range(count):
        yield _sample(codec, _name(index), draw_latent(codec, index, size, seed, perturbation))


def _name(index: int) -> str:
    return f"generated-{index:05d}"


def _sample(codec: Codec, name: str, latent: Tensor) -> Sample:
    """Decode one latent by itself, so that neither it nor its image depends on other samples, not even by rounding."""
    image = decode_rounded(codec, latent[None])[0]
    return Sample(name, image, (image.shape[1], image.shape[2]), latent)


class GeneratedData(IndexedData):
    """Images with known true latents, so that the error of an inversion is known: drawn by ``generate``, or from files."""

    def __init__(
        self,
        count: int = 32,
        size: int = 64,
        batch_size: int = 8,
        seed: int = 1000,
        perturbation: float = 0.1,
        latents: str | None = None,
        shard: str = "0/1",
        block: int | None = None,
    ) -> None:
        """Say which latents.

        Args:
            count: Number of images, at least 0; not used with ``latents``.
            size: Height and width of an image in pixels, at least 8 and a multiple of the codec's stride; not used with
                ``latents``.
            batch_size: Images that are inverted together, at least 1.
            seed: Seed of the images and the noise, at least 0; not used with ``latents``.
            perturbation: Size of the noise that is added to latents of procedural images, relative to their standard deviation
                in the diffusion model's space, at least 0; not used with ``latents``.
            latents: A directory of safetensors files (searched at any depth) of raw latents, such as an earlier run's, to be
                used instead of drawn ones; see ``decinv.data.latents.list_latents``; null to draw.
            shard: Part of the images that this job inverts, as i/n with 0 <= i < n, for n independent jobs with one --out.
            block: Consecutive images among which those of one size are batched, at least 1; null to choose by their number.
                Each block is the work of one process.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(batch_size, shard, block, workers=0)
        refuse_below(0, count=count, seed=seed, perturbation=perturbation)
        refuse_below(8, size=size)
        self.count = count
        self.size = size
        self.seed = seed
        self.perturbation = perturbation
        self.latents = latents

    def list_inputs(self) -> Sequence[Input]:
        """List the latents.

        Raises:
            FileNotFoundError: If there is no safetensors file in ``latents``.
            ValueError: If two latents have one name.
        """
        if self.latents is not None:
            return list_latents(self.latents)
        return tuple(Input(index, _name(index)) for index in range(self.count))

    def image_size(self, item: Input, codec: Codec) -> tuple[int, int] | None:
        """Give the configured size, or that of the file's latent; it is unknown where the file cannot be read."""
        if not item.path:
            return self.size, self.size
        return None if (cells := latent_size(item)) is None else (cells[0] * codec.stride, cells[1] * codec.stride)

    def load(self, item: Input, codec: Codec) -> Sample | Failure:
        """Draw or read a latent, and decode it."""
        if not item.path:
            latent = draw_latent(codec, item.number, self.size, self.seed, self.perturbation)
            return _sample(codec, item.name, latent)
        try:
            return _sample(codec, item.name, load_latent(item, codec.latent_channels))
        except (ValueError, OSError) as error:
            return Failure(item.name, str(error))
