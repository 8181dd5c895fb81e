"""LightningModules: the inversions, and the trainings of the bundled codec and the bundled diffusion model."""

from decinv.modules.autoencoder import AutoencoderTraining
from decinv.modules.base import Inversion
from decinv.modules.decoder import DecoderInversion, EncoderInversion
from decinv.modules.denoiser import DenoiserTraining
from decinv.modules.first_latent import DecodedLatent, EncodedLatent, FirstLatent, GradientLatent, KnownLatent
from decinv.modules.flow import FlowTraining
from decinv.modules.gradient import GradientInversion
from decinv.modules.sampler import SamplerInversion

__all__ = [
    "AutoencoderTraining",
    "DecodedLatent",
    "DecoderInversion",
    "DenoiserTraining",
    "EncodedLatent",
    "EncoderInversion",
    "FirstLatent",
    "FlowTraining",
    "GradientInversion",
    "GradientLatent",
    "Inversion",
    "KnownLatent",
    "SamplerInversion",
]
