"""Problems: what an inversion solves."""

from decinv.problems.base import Evaluation, Problem
from decinv.problems.decoder import DecoderProblem, DescentProblem
from decinv.problems.gradient import GradientProblem
from decinv.problems.step import StepProblem
from decinv.problems.trajectory import TrajectoryProblem

__all__ = [
    "DecoderProblem",
    "DescentProblem",
    "Evaluation",
    "GradientProblem",
    "Problem",
    "StepProblem",
    "TrajectoryProblem",
]
