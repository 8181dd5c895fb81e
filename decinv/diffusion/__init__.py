"""Diffusion: networks, guidance, and the steps of samplers, which are what is inverted."""

from decinv.diffusion.cached import Cached
from decinv.diffusion.denoiser import Denoiser, Guidance
from decinv.diffusion.dpm_solver import DPMSolver
from decinv.diffusion.euler import Euler, EulerAncestral
from decinv.diffusion.flow import FlowEuler, RectifiedFlow, Stable3Euler
from decinv.diffusion.gaussian import GaussianDenoiser
from decinv.diffusion.halfway import FireFlow, FlowMidpoint
from decinv.diffusion.invertible import BDIA, BELM, EDICT, InvertibleSampler
from decinv.diffusion.pipeline import DiffusersPipeline, Pipeline
from decinv.diffusion.process import Process
from decinv.diffusion.prompt import Condition, Prompt
from decinv.diffusion.sampler import DDIM, Sampler, Trajectory
from decinv.diffusion.step import Step

__all__ = [
    "BDIA",
    "BELM",
    "DDIM",
    "EDICT",
    "Cached",
    "Condition",
    "DPMSolver",
    "Denoiser",
    "DiffusersPipeline",
    "Euler",
    "EulerAncestral",
    "FireFlow",
    "FlowEuler",
    "FlowMidpoint",
    "GaussianDenoiser",
    "Guidance",
    "InvertibleSampler",
    "Pipeline",
    "Process",
    "Prompt",
    "RectifiedFlow",
    "Sampler",
    "Stable3Euler",
    "Step",
    "Trajectory",
]
