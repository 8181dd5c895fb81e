"""Images made from marked noise and attacked, to look for their marks."""

import torch
from torch import Tensor

from decinv.batch import Failure
from decinv.codecs.base import Codec
from decinv.data.buckets import Sample
from decinv.data.noise import GeneratedNoise
from decinv.images.attacks import Attack
from decinv.runs import Input
from decinv.watermark import Watermark


class MarkedNoise(GeneratedNoise):
    """Images sampled as ``GeneratedNoise`` does it from noise that carries each mark of a watermark in turn, and then none.

    The true latents are those of the images before the attack.
    """

    def __init__(
        self,
        watermark: Watermark,
        attack: Attack | None = None,
        count: int = 8,
        size: int = 128,
        batch_size: int = 4,
        seed: int = 1000,
        prompts: list[str] | None = None,
        shard: str = "0/1",
        block: int | None = None,
    ) -> None:
        """Say which watermark, attack, noise and prompts.

        Args:
            watermark: The watermark.
            attack: What happens to the images; null for nothing.
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
        super().__init__(count, size, batch_size, seed, prompts, shard, block)
        self.watermark = watermark
        self.attack = attack

    def which(self, number: int) -> int:
        """Give the mark of an image, from 0; -1 for none."""
        mark = number % (self.watermark.marks + 1)
        return mark if mark < self.watermark.marks else -1

    def draw(self, number: int, shape: tuple[int, int, int]) -> Tensor:
        """Draw the noise of an image, and mark it."""
        return self.watermark.mark(super().draw(number, shape)[None], torch.tensor([self.which(number)]))[0]

    def prompt(self, number: int) -> str:
        """Give the prompt of an image: the same for each mark in turn and for none, so that marks do not differ by prompts."""
        return super().prompt(number // (self.watermark.marks + 1))

    def load(self, item: Input, codec: Codec) -> Sample | Failure:
        """Make an image, and attack it.

        Raises:
            TypeError: If the model inverts no sampler.
            ValueError: If ``size`` is no multiple of what codec and network take, or the attack gives another shape.
        """
        sample = super().load(item, codec)
        if self.attack is None or isinstance(sample, Failure):
            return sample
        image = sample.image[None]
        attacked = self.attack(image.clone(), [item.number])
        if attacked.shape != image.shape:
            shapes = f"{tuple(image.shape)}, but got {tuple(attacked.shape)}"
            raise ValueError(f"Expected {type(self.attack).__name__} to give images of the shape that it gets, {shapes}.")
        return sample._replace(image=attacked[0])
