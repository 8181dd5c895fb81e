"""Drivers of image autoencoders whose classes ask for more than an image."""

from typing import Any

import torch
from torch import Tensor

from decinv.codecs.driver import Driver
from decinv.codecs.scaling import Scaling


class StillDriver(Driver):
    """Code images as clips of one frame: AutoencoderKLQwenImage, AutoencoderKLHunyuanImageRefiner.

    An alpha channel, where there is one, is opaque, and left away in what is decoded: AutoencoderKLQwenImage21.
    """

    note = "An image is coded as a clip of one frame; an alpha channel is opaque."

    def encode(self, image: Tensor) -> Tensor:
        """Encode clips of one frame."""
        if self.model.config.get("in_channels") == 4:
            image = torch.cat([image, torch.ones_like(image[:, :1])], dim=1)
        return super().encode(image[:, :, None])[:, :, 0]

    def decode(self, latent: Tensor) -> Tensor:
        """Decode clips of one frame."""
        return super().decode(latent[:, :, None])[:, :3, 0]


class NoiseDriver(Driver):
    """Decode with the same noise for every image: ConsistencyDecoderVAE."""

    note = "Every image is decoded with the same noise."
    reads_values = True

    def decode(self, latent: Tensor) -> Tensor:
        """Decode each image with a generator of its own in the same state, on the CPU, so that all devices draw alike."""
        generators = [torch.Generator().manual_seed(0) for _ in latent]
        return self._sample(self.model.decode(latent, generator=generators))


class UnitDriver(Driver):
    """Code images of one size in ImageNet's normalisation, and give latents that are scaled already: AutoencoderRAE."""

    note = "Images have one size; latents are scaled already."

    def __init__(self, model: Any) -> None:
        """Take the autoencoder and its size."""
        super().__init__(model)
        config = model.config
        tokens = config["encoder_input_size"] // config["encoder_patch_size"]
        self.sizes = (int(tokens * config["patch_size"]),)

    def encode(self, image: Tensor) -> Tensor:
        """Encode pixels in [0, 1], which the class normalises and resizes itself."""
        (size,) = self.sizes
        if image.shape[-2:] != (size, size):
            height, width = image.shape[-2:]
            raise ValueError(f"Expected images of {size} x {size}, the only size of this codec, but got {height} x {width}.")
        return super().encode(image / 2 + 0.5)

    def decode(self, latent: Tensor) -> Tensor:
        """Decode to pixels in [-1, 1]."""
        return super().decode(latent) * 2 - 1

    def scaling(self, channels: int) -> Scaling:
        """Scale nothing twice."""
        del channels
        return Scaling()
