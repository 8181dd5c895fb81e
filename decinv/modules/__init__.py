"""LightningModules: the inversions, and the trainings of the bundled codec and the bundled diffusion model."""

from decinv.modules.autoencoder import AutoencoderTraining
from decinv.modules.base import Inversion
from decinv.modules.decoder import DecoderInversion, EncoderInversion
from decinv.modules.denoiser import DenoiserTraining
from decinv.modules.flow import FlowTraining
from decinv.modules.gradient import GradientInversion

__all__ = [
    "AutoencoderTraining",
    "DecoderInversion",
    "DenoiserTraining",
    "EncoderInversion",
    "FlowTraining",
    "GradientInversion",
    "Inversion",
]
