"""Dual-conditional inversion (Li et al., arXiv 2506.02560), as released."""

from torch import Tensor

from decinv.course import Course
from decinv.diffusion.process import Process
from decinv.diffusion.step import Step
from decinv.methods.base import naive_step
from decinv.methods.spdinv import THRESHOLD, SPDInv
from decinv.problems.dual_condition import DualConditionProblem
from decinv.ranges import refuse_below
from decinv.updates.base import UpdateFactory


class DualConditionalInversion(SPDInv):
    """SPDInv's descent, with predictions that are drawn to the image's latent by a little.

    The authors invert without guidance, and edit with the source's prompt as the negative one; what else their program does
    to edits is no part of this. What is recovered leads back to the latent only approximately: the sampler's own predictions
    are not drawn to it.
    """

    def __init__(
        self,
        update: UpdateFactory | None = None,
        rate: float = 1.0,
        max_iters: int = 10,
        tolerance: float = THRESHOLD,
        last_iterate: bool = True,
    ) -> None:
        """Set rule and stopping; the defaults are the released program's. The paper has rate 2 and 5 iterations.

        Args:
            update: The update rule; by default AdamW with rate 0.001.
            rate: By how much the predicted noise moves towards the latent, as a length, at least 0; 0 is SPDInv.
            max_iters: Largest number of iterations of a sample for one step, at least 1, each of one prediction and its
                backward pass; the naive inversion takes one prediction before them.
            tolerance: Root mean square of ``x_s - f(x_s)`` below which a step is inverted, at least 0.
            last_iterate: Whether to take the iterate after the last update, that on the iterate that meets the tolerance or is
                the last of ``max_iters``, instead of the best one evaluated; it costs one more prediction a step.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(0, rate=rate)
        super().__init__(update, max_iters, tolerance, last_iterate)
        self.rate = rate

    def back(self, process: Process, step: Step, point: Tensor, target: Tensor, latent: Tensor) -> Course:
        """Descend from the naive inversion."""
        start = naive_step(process, step, target)
        return (yield DualConditionProblem(process, step.plain, target, start, latent, self.rate)).latent
