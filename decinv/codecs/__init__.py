"""Codecs: what maps images to latents and back."""

from decinv.codecs.autoencoder import AutoencoderCodec, load_codec
from decinv.codecs.base import Codec, Scaling
from decinv.codecs.linear import LinearCodec

__all__ = ["AutoencoderCodec", "Codec", "LinearCodec", "Scaling", "load_codec"]
