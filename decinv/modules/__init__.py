"""LightningModules: the inversions, and the training of the bundled codec."""

from decinv.modules.autoencoder import AutoencoderTraining
from decinv.modules.base import Inversion
from decinv.modules.decoder import DecoderInversion, EncoderInversion
from decinv.modules.first_latent import DecodedLatent, EncodedLatent, FirstLatent, GradientLatent, KnownLatent
from decinv.modules.gradient import GradientInversion
from decinv.modules.sampler import SamplerInversion

__all__ = [
    "AutoencoderTraining",
    "DecodedLatent",
    "DecoderInversion",
    "EncodedLatent",
    "EncoderInversion",
    "FirstLatent",
    "GradientInversion",
    "GradientLatent",
    "Inversion",
    "KnownLatent",
    "SamplerInversion",
]
