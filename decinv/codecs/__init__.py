"""Codecs: what maps images and clips to latents and back."""

from decinv.codecs.autoencoder import AutoencoderCodec, load_codec
from decinv.codecs.base import Codec
from decinv.codecs.frames import FrameRule
from decinv.codecs.linear import LinearCodec
from decinv.codecs.scaling import Scaling

__all__ = ["AutoencoderCodec", "Codec", "FrameRule", "LinearCodec", "Scaling", "load_codec"]
