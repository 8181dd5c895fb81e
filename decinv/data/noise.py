"""Images whose true noise is known, since a diffusion model made them from it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from decinv.batch import Failure
from decinv.codecs.base import Codec
from decinv.data.base import ChunkLoader
from decinv.data.buckets import Sample
from decinv.data.generated import decode_rounded
from decinv.data.indexed import IndexedData
from decinv.diffusion.noise import draw_noise
from decinv.modules.sampler import SamplerInversion
from decinv.ranges import refuse_below
from decinv.runs import Input

PROMPTS = (
    "a red circle on a plain blue background",
    "a green square and a yellow star on a striped white background",
    "a purple triangle on a dotted black background",
    "a blue ring and a red cross on a checkered yellow background",
)
"""Captions of the scenes that the bundled model was trained on."""


class GeneratedNoise(IndexedData):
    """Images sampled by the diffusion model, sampler, guidance and codec that are inverted, and rounded to 8 bits.

    The true latents and the true noise are known. Each image is made by itself, so none depends on others.
    """

    def __init__(
        self,
        count: int = 8,
        size: int = 128,
        batch_size: int = 4,
        seed: int = 1000,
        prompts: list[str] | None = None,
        shard: str = "0/1",
        block: int | None = None,
    ) -> None:
        """Say which noise, and which prompts.

        Args:
            count: Number of images, at least 0.
            size: Height and width of an image in pixels, at least 8 and a multiple of the codec's stride.
            batch_size: Images that are inverted together, at least 1.
            seed: Seed of the noise, at least 0; samples do not depend on each other.
            prompts: Prompts, used in turn; by default captions that the bundled model knows.
            shard: Part of the images that this job inverts, as i/n with 0 <= i < n, for n independent jobs with one --out.
            block: Consecutive images that are the work of one process, at least 1; null to choose by their number.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(batch_size, shard, block, workers=0)
        refuse_below(0, count=count, seed=seed)
        refuse_below(8, size=size)
        if prompts is not None and not prompts:
            raise ValueError("Expected at least one of `prompts`, but got none; give an empty prompt for none.")
        self.count = count
        self.size = size
        self.seed = seed
        self.prompts = tuple(prompts or PROMPTS)

    def list_inputs(self) -> Sequence[Input]:
        """List the images."""
        return tuple(Input(index, f"sampled-{index:05d}") for index in range(self.count))

    def image_size(self, item: Input, codec: Codec) -> tuple[int, int] | None:
        """Give the configured size."""
        return self.size, self.size

    def train_dataloader(self) -> ChunkLoader:
        """Start the sequence of chunks.

        Raises:
            TypeError: If the model inverts no sampler.
        """
        self._inversion()
        return super().train_dataloader()

    def draw(self, number: int, shape: tuple[int, int, int]) -> Tensor:
        """Draw the noise ``(C, h, w)`` of an image."""
        return draw_noise(shape, self.seed, number)

    def prompt(self, number: int) -> str:
        """Give the prompt of an image."""
        return self.prompts[number % len(self.prompts)]

    @torch.no_grad()
    def load(self, item: Input, codec: Codec) -> Sample | Failure:
        """Draw noise, sample, and decode.

        Raises:
            TypeError: If the model inverts no sampler.
            ValueError: If ``size`` is no multiple of what codec and network take.
        """
        if self.size % codec.multiple:
            raise ValueError(
                f"Expected `size` to be a multiple of {codec.multiple}, which codec and network take, but got {self.size}."
            )
        cells = self.size // codec.stride
        noise = self.draw(item.number, (codec.latent_channels, cells, cells))
        prompt = self.prompt(item.number)
        process = self._inversion().process([prompt], (cells, cells))
        pair = process.generate_pair(noise[None].to(codec.device))
        latent, companion = (None if one is None else codec.scaling.invert(one).cpu() for one in pair)
        assert latent is not None
        sample = Sample(item.name, decode_rounded(codec, latent)[0], (self.size, self.size), latent[0])
        return sample._replace(noise=noise, prompt=prompt, companion=None if companion is None else companion[0])

    def _inversion(self) -> SamplerInversion:
        """Give the model, from which comes what samples are made by."""
        module = None if self.trainer is None else self.trainer.lightning_module
        if not isinstance(module, SamplerInversion):
            raise TypeError(f"Expected a `SamplerInversion`, whose sampler makes the images, but got {type(module).__name__}.")
        return module
