"""The DataModule that feeds captioned scenes, as latents, to the training of a diffusion model."""

import torch

from decinv.codecs import Codec, load_codec
from decinv.data.cached import CachedLatents, Captioned
from decinv.data.scenes import captioned_scene


@torch.no_grad()
def encode_scenes(codec: Codec, count: int, size: int = 128, seed: int = 0, first: int = 0) -> Captioned:
    """Encode consecutive captioned scenes of one seed, a few at a time.

    Args:
        codec: The codec; its device does the work.
        count: Number of scenes, at least 1.
        size: Height and width of an image in pixels, at least 32 and a multiple of the codec's stride.
        seed: Seed of the scenes, at least 0.
        first: Index of the first scene, at least 0.

    Returns:
        Latents ``(count, C, h, w)`` in the diffusion model's scale, on the CPU, and their captions.
    """
    latents, captions = [], []
    for start in range(first, first + count, 8):
        scenes = [captioned_scene(index, size, seed) for index in range(start, min(start + 8, first + count))]
        images = torch.stack([image for image, _ in scenes]).to(codec.device)
        latents.append(codec.scaling.apply(codec.encode(images)).cpu())
        captions += [caption for _, caption in scenes]
    return torch.cat(latents), captions


class CaptionedLatents(CachedLatents):
    """Latents of captioned scenes in two sizes, encoded once before the training, and held-out ones for its validation."""

    def __init__(
        self,
        codec: str = "bundled",
        size: int = 128,
        count: int = 5120,
        batch_size: int = 16,
        large_size: int = 256,
        large_count: int = 640,
        large_batch_size: int = 8,
        large_every: int = 5,
        seed: int = 1,
        validation_seed: int = 0,
        validation_count: int = 64,
        cache: str | None = None,
    ) -> None:
        """Set up the scenes.

        Args:
            codec: The codec that encodes them: ``bundled``, a directory saved by diffusers, or a hub id.
            size: Height and width of most images in pixels; a multiple of the codec's stride, at least 32.
            count: Number of scenes of that size, at least 1.
            batch_size: Latents in a batch of that size, at least 1.
            large_size: Height and width of the other images in pixels; a multiple of the codec's stride, at least 32.
            large_count: Number of scenes of that size, others than those of the first, at least 1.
            large_batch_size: Latents in a batch of that size, at least 1.
            large_every: One batch in so many is a large one; 0 for none.
            seed: Seed of the scenes and of the batches.
            validation_seed: Seed of the held-out scenes; differs from ``seed``.
            validation_count: Number of held-out scenes, at least 1.
            cache: A directory that keeps the latents of one codec for other trainings on the same scenes; null to keep none.
                Those of another codec are refused by its name.

        Raises:
            ValueError: If the two seeds are equal, or a number is out of range.
        """
        super().__init__(
            size,
            count,
            batch_size,
            large_size,
            large_count,
            large_batch_size,
            large_every,
            seed,
            validation_seed,
            validation_count,
            cache,
        )
        self.codec = codec

    def origin(self) -> str:
        """Name the codec."""
        return f"codec {self.codec!r}"

    def make(self, count: int, size: int, seed: int, first: int) -> Captioned:
        """Draw scenes and encode them."""
        codec = load_codec(self.codec)
        if self.trainer is not None:
            codec = codec.to(self.trainer.strategy.root_device)
        return encode_scenes(codec, count, size, seed, first)
