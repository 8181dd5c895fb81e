"""Methods: how the steps of a sampler are inverted, from the latent to the noise."""

from decinv.methods.base import Method
from decinv.methods.dual_condition import DualConditionalInversion
from decinv.methods.gnri import GuidedNewton, GuidedNewtonReleased
from decinv.methods.naive import NaiveInversion
from decinv.methods.newton_krylov import NewtonKrylov
from decinv.methods.pairs import PairInversion
from decinv.methods.published import Algorithm1, Algorithm2
from decinv.methods.spdinv import SPDInv
from decinv.methods.stepwise import Stepwise
from decinv.methods.whole import ExactInversion, WholeTrajectory

__all__ = [
    "Algorithm1",
    "Algorithm2",
    "DualConditionalInversion",
    "ExactInversion",
    "GuidedNewton",
    "GuidedNewtonReleased",
    "Method",
    "NaiveInversion",
    "NewtonKrylov",
    "PairInversion",
    "SPDInv",
    "Stepwise",
    "WholeTrajectory",
]
