"""LightningModules: the inversions, and the training of the bundled codec."""

from decinv.modules.autoencoder import AutoencoderTraining
from decinv.modules.base import Inversion
from decinv.modules.decoder import DecoderInversion, EncoderInversion
from decinv.modules.gradient import GradientInversion

__all__ = ["AutoencoderTraining", "DecoderInversion", "EncoderInversion", "GradientInversion", "Inversion"]
