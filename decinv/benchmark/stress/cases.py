"""The codecs of the stress benchmark, as data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import diffusers
import torch

from decinv.benchmark.stress.impaired import (
    ChannelMap,
    CoarseCodec,
    Constant,
    ImpairedCodec,
    Mixture,
    as_codec,
    blur,
    rotation,
    round_factors,
    round_layers,
    shift,
    spoil_weights,
    symmetric,
)
from decinv.codecs.autoencoder import AutoencoderCodec, load_codec
from decinv.codecs.base import Codec
from decinv.codecs.linear import LinearCodec
from decinv.convolutions import TF32

SPOILT = 0.05
"""Noise on the weights of the bundled codec with which its PSNR falls to about 18 dB."""


@dataclass(frozen=True)
class Case:
    """One codec that is hard to invert.

    Attributes:
        name: What table and figure call it.
        codec: Makes the codec whose decoder is inverted, on the CPU.
        source: Makes the codec whose encoder the true latents are drawn with, of the same decoder; ``None`` for the codec
            itself. So all codecs that differ in their encoders see the same images.
    """

    name: str
    codec: Callable[[], Codec]
    source: Callable[[], Codec] | None = None


def cases_of(path: str) -> list[Case]:
    """Give the cases that are made from one codec.

    Args:
        path: The codec: ``bundled``, a directory saved by diffusers, or a hub id.
    """
    plain = partial(load_codec, path)

    def changed(name: str, change: Callable[[int], torch.nn.Module]) -> Case:
        """Put a map, made for a number of channels, behind the encoder."""

        def make() -> Codec:
            inner = plain()
            return ImpairedCodec(inner, change(inner.latent_channels))

        return Case(name, make, plain)

    def rounded(dtype: torch.dtype) -> Codec:
        return CoarseCodec(round_layers(plain(), dtype), torch.finfo(dtype).eps)

    def untrained() -> Codec:
        model = plain().model
        return as_codec(lambda: type(model).from_config(model.config))

    return [
        Case("as it is", plain),
        *(changed(f"rotated by {angle}°", partial(_rotated, degrees=angle)) for angle in (30, 90, 150)),
        *(changed(f"scaled by {factor}", partial(_scaled, factor=factor)) for factor in (0.3, 2, 3, -1)),
        changed("half shifted", lambda channels: Mixture(shift, 0.5)),
        changed("blurred", lambda channels: Mixture(blur, 0.9)),
        changed("a channel lost", lambda channels: ChannelMap(symmetric((0.01,) + (1.0,) * (channels - 1)))),
        changed("constant", lambda channels: Constant()),
        Case("badly trained", lambda: spoil_weights(plain(), SPOILT)),
        Case("untrained", untrained),
        Case("bfloat16", partial(rounded, torch.bfloat16)),
        Case("float16", partial(rounded, torch.float16)),
        Case("TF32", lambda: CoarseCodec(round_factors(plain()), TF32)),
    ]


def _rotated(channels: int, degrees: float) -> ChannelMap:
    return ChannelMap(rotation(channels, degrees))


def _scaled(channels: int, factor: float) -> ChannelMap:
    return ChannelMap(factor * torch.eye(channels))


def fixed_cases() -> list[Case]:
    """Give the cases that need no codec of the user's."""

    def tiny() -> AutoencoderCodec:
        width = (32,) * 4
        return as_codec(lambda: diffusers.AutoencoderTiny(encoder_block_out_channels=width, decoder_block_out_channels=width))

    def linear(*eigenvalues: float) -> Codec:
        return ImpairedCodec(LinearCodec((1.0,) * len(eigenvalues)), ChannelMap(symmetric(eigenvalues)))

    spectra = ((3.0, 2.5, 1.0, 0.3), (3.0, 1.0, 0.5, -0.5))
    return [
        Case("untrained AutoencoderTiny", tiny),
        *(
            Case(f"linear, {', '.join(f'{a:g}' for a in spectrum)}", partial(linear, *spectrum), partial(linear, 1, 1, 1, 1))
            for spectrum in spectra
        ),
    ]
