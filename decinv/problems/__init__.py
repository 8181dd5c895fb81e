"""Problems: what an inversion solves."""

from decinv.problems.base import Evaluation, Problem
from decinv.problems.decoder import DecoderProblem
from decinv.problems.gradient import GradientProblem

__all__ = ["DecoderProblem", "Evaluation", "GradientProblem", "Problem"]
