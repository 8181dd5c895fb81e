"""The codec: the autoencoder whose decoder is inverted."""

from abc import ABC, abstractmethod
from itertools import chain
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn


class Scaling(NamedTuple):
    """The affine map between raw latents and the diffusion model's space: ``scaled = (raw - shift) * factor``."""

    factor: float = 1.0
    shift: float = 0.0

    def apply(self, raw: Tensor) -> Tensor:
        """Map raw latents to the diffusion model's space."""
        return (raw - self.shift) * self.factor

    def invert(self, scaled: Tensor) -> Tensor:
        """Map latents of the diffusion model's space to raw latents."""
        return scaled / self.factor + self.shift


class Codec(nn.Module, ABC):
    """A frozen, deterministic pair of maps between images and raw latents.

    Subclasses set the attributes and define ``_encode`` and ``_decode``; callers use ``encode`` and ``decode``, which check
    shapes and always give float32, whatever the codec computes in.

    Attributes:
        stride: Pixels along one side of a latent cell; heights and widths of images are multiples of it.
        latent_channels: Channels of a latent.
        scaling: The affine map to the diffusion model's space.
        clamps: Whether the images that come from latents are D(z) clamped to [-1, 1], as those of 8 bits are.
    """

    stride: int
    latent_channels: int
    scaling: Scaling = Scaling()
    clamps: bool = False

    @property
    def device(self) -> torch.device:
        """Where the codec computes."""
        return next(chain(self.parameters(), self.buffers())).device

    @abstractmethod
    def _encode(self, image: Tensor) -> Tensor: ...

    @abstractmethod
    def _decode(self, latent: Tensor) -> Tensor: ...

    def encode(self, image: Tensor) -> Tensor:
        """Give the raw latent E(x): the mode of the posterior, so that the same image always gives the same latent.

        Args:
            image: Images with shape ``(B, 3, H, W)`` in [-1, 1].

        Returns:
            Latents with shape ``(B, C, H / stride, W / stride)``, float32.

        Raises:
            ValueError: If the shape is another one, or a side is no multiple of the stride.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"Expected images with shape (B, 3, H, W), but got {tuple(image.shape)}.")
        height, width = image.shape[-2:]
        if height % self.stride or width % self.stride or not height or not width:
            fits = " x ".join(str(max(1, round(v / self.stride)) * self.stride) for v in (height, width))
            raise ValueError(
                f"Expected image sides that are multiples of {self.stride}, but got {height} x {width}, which the codec "
                f"would silently crop; pad or crop to {fits}, say."
            )
        if not len(image):
            return image.new_zeros(0, self.latent_channels, height // self.stride, width // self.stride, dtype=torch.float32)
        return self._encode(image).float()

    def decode(self, latent: Tensor) -> Tensor:
        """Give the image D(z), not clamped.

        Args:
            latent: Raw latents with shape ``(B, C, h, w)``.

        Returns:
            Images with shape ``(B, 3, h * stride, w * stride)``, float32.

        Raises:
            ValueError: If the shape is another one.
        """
        if latent.ndim != 4 or latent.shape[1] != self.latent_channels:
            raise ValueError(f"Expected latents with shape (B, {self.latent_channels}, h, w), but got {tuple(latent.shape)}.")
        if not len(latent):
            height, width = (side * self.stride for side in latent.shape[-2:])
            return latent.new_zeros(0, 3, height, width, dtype=torch.float32)
        return self._decode(latent).float()

    def picture(self, latent: Tensor) -> Tensor:
        """Give the image that a latent stands for: D(z), clamped to [-1, 1] where the codec ``clamps``.

        Args:
            latent: Raw latents with shape ``(B, C, h, w)``.

        Returns:
            Images with shape ``(B, 3, h * stride, w * stride)``, float32.

        Raises:
            ValueError: If the shape is another one.
        """
        decoded = self.decode(latent)
        return decoded.clamp(-1, 1) if self.clamps else decoded

    def freeze(self) -> Self:
        """Make the weights constants; subclasses call it at the end of their construction."""
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever a trainer asks for: dropout would make the maps random."""
        del mode
        return super().train(False)
