"""Codecs made hard on purpose: encoders that are changed, weights that are spoilt or random, arithmetic that is rounded."""

import math
import tempfile
from collections.abc import Callable, Sequence

import diffusers
import torch
from torch import Tensor, nn
from torch.nn import functional

from decinv.benchmark.measuring.wrapped import WrappedCodec
from decinv.codecs.autoencoder import AutoencoderCodec, load_codec
from decinv.codecs.base import Codec


class ImpairedCodec(WrappedCodec):
    """Another codec whose encoder is followed by a map of scaled latents: ``E'(x) = c(E(x))``, with the same decoder.

    Where c is linear and invertible, E' leaves the solutions of ``E(D(z)) = E(x)`` as they are, and multiplies the Jacobian of
    T by c from the left: a rotation by an angle a makes it cocoercive no more from about 90 degrees on.
    """

    def __init__(self, inner: Codec, change: nn.Module) -> None:
        """Combine codec and map.

        Args:
            inner: The codec.
            change: The map c of scaled latents ``(B, C, h, w)`` to others of the same shape.
        """
        super().__init__(inner)
        self.change = change
        self.freeze()

    def _encode(self, image: Tensor) -> Tensor:
        scaled: Tensor = self.change(self.scaling.apply(super()._encode(image).float()))
        return self.scaling.invert(scaled)


class CoarseCodec(WrappedCodec):
    """Another codec that was made to round what it computes with, and says so."""

    def __init__(self, inner: Codec, rounding: float) -> None:
        """Take the codec.

        Args:
            inner: The codec.
            rounding: The relative error of rounding, as ``torch.finfo(...).eps``.
        """
        super().__init__(inner)
        self._rounding = rounding
        self.freeze()

    @property
    def rounding(self) -> float:
        """What was given."""
        return self._rounding


class ChannelMap(nn.Module):
    """Multiply the channels of each latent cell by a matrix ``(C, C)``."""

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        """Take the matrix, which is kept in float32."""
        super().__init__()
        self.register_buffer("matrix", matrix.float())

    def forward(self, latent: Tensor) -> Tensor:
        """Map latents ``(B, C, h, w)``."""
        return torch.einsum("cd,bdhw->bchw", self.matrix, latent)


class Mixture(nn.Module):
    """``(1 - weight) z + weight other(z)``."""

    def __init__(self, other: Callable[[Tensor], Tensor], weight: float) -> None:
        """Take the map to mix with, and its weight."""
        super().__init__()
        self.other = other
        self.weight = weight

    def forward(self, latent: Tensor) -> Tensor:
        """Mix latents ``(B, C, h, w)``."""
        return (1 - self.weight) * latent + self.weight * self.other(latent)


class Constant(nn.Module):
    """Give 1 everywhere, whatever the latent is: T is 0 at every point, and says nothing."""

    def forward(self, latent: Tensor) -> Tensor:
        """Ignore latents ``(B, C, h, w)``."""
        return torch.ones_like(latent)


def shift(latent: Tensor) -> Tensor:
    """Move latents ``(B, C, h, w)`` by one cell to the right, cyclically."""
    return latent.roll(1, dims=-1)


def blur(latent: Tensor) -> Tensor:
    """Average latents ``(B, C, h, w)`` over 3 x 3 cells; cells beyond the border are those on it."""
    return functional.avg_pool2d(functional.pad(latent, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def rotation(channels: int, degrees: float, seed: int = 0) -> Tensor:
    """Give an orthogonal matrix ``(C, C)`` that turns every direction by one angle.

    It turns ``C // 2`` random planes that are at right angles to each other; of an odd number of channels one stays.
    """
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.eye(channels, dtype=torch.float64)
    for first in range(0, channels - 1, 2):
        turn[first : first + 2, first : first + 2] = torch.tensor([[cosine, -sine], [sine, cosine]])
    basis = _basis(channels, seed)
    return basis @ turn @ basis.T


def symmetric(eigenvalues: Sequence[float], seed: int = 0) -> Tensor:
    """Give a symmetric matrix with these eigenvalues and random eigenvectors, ``(C, C)``."""
    basis = _basis(len(eigenvalues), seed)
    return basis @ torch.diag(torch.tensor(list(eigenvalues), dtype=torch.float64)) @ basis.T


def _basis(channels: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    basis: Tensor = torch.linalg.qr(torch.randn(channels, channels, generator=generator, dtype=torch.float64))[0]
    return basis


def as_codec(make: Callable[[], diffusers.ModelMixin], seed: int = 0) -> AutoencoderCodec:
    """Give a codec of an untrained autoencoder of diffusers.

    Args:
        make: Makes the autoencoder; its weights are drawn with the seed.
        seed: The seed.

    Returns:
        The frozen codec, float32, on the CPU.
    """
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as directory:
        torch.manual_seed(seed)
        make().save_pretrained(directory)
        return load_codec(directory)


@torch.no_grad()
def spoil_weights(codec: AutoencoderCodec, amount: float, seed: int = 0) -> AutoencoderCodec:
    """Add noise to all weights of a codec, in place.

    Args:
        codec: The codec, on the CPU.
        amount: Standard deviation of the Gaussian noise relative to the root mean square of each tensor of weights.
        seed: The noise's seed.

    Returns:
        The codec.
    """
    generator = torch.Generator().manual_seed(seed)
    for weight in codec.parameters():
        weight.add_(amount * weight.square().mean().sqrt() * torch.randn(weight.shape, generator=generator))
    return codec


def round_layers(codec: AutoencoderCodec, dtype: torch.dtype) -> AutoencoderCodec:
    """Round the weights and what every layer gives to another number format, in place, and go on computing in float32.

    That is what accelerators do that sum in float32, and far faster than ``dtype`` on processors without arithmetic in 16 bits.
    """
    for weight in codec.parameters():
        weight.data = weight.to(dtype).float()
    for layer in codec.model.modules():
        layer.register_forward_hook(lambda layer, inputs, output: _rounded(output, dtype))
    return codec


def _rounded(output: object, dtype: torch.dtype) -> object:
    """Round a tensor, and leave alone what a layer gives that is none."""
    return output.to(dtype).float() if isinstance(output, Tensor) else output


def round_factors(codec: AutoencoderCodec) -> AutoencoderCodec:
    """Round the factors of convolutions to TF32's 10 bits of mantissa, in place, as CUDA does unless told otherwise."""
    for layer in codec.model.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            layer.weight.data = to_tf32(layer.weight.data)
            layer.register_forward_pre_hook(lambda layer, inputs: (to_tf32(inputs[0]), *inputs[1:]))
    return codec


def to_tf32(values: Tensor) -> Tensor:
    """Round float32 values to 10 bits of mantissa, ties to even."""
    bits = values.contiguous().view(torch.int32)
    odd = (bits >> 13) & 1
    return ((bits + 0x0FFF + odd) & ~0x1FFF).view(torch.float32)
