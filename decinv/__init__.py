"""decinv: inversion of latent diffusion models."""

from decinv.api import invert
from decinv.codecs.autoencoder import load_codec
from decinv.result import Result
from decinv.status import Status

__version__ = "0.1.0"

__all__ = ["Result", "Status", "invert", "load_codec"]
