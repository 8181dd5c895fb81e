"""Source prompt disentangled inversion (Li et al., arXiv 2403.11105), as released."""

from functools import partial

from torch import Tensor
from torch.optim import AdamW

from decinv.course import Course
from decinv.diffusion.process import Process
from decinv.diffusion.sampler import Trajectory
from decinv.diffusion.step import Step
from decinv.methods.base import SinglestepMethod, naive_step, refuse_pure_noise
from decinv.problems.fixed_point import FixedPointProblem
from decinv.ranges import refuse_below
from decinv.stopping import Stopping
from decinv.updates.base import UpdateFactory

THRESHOLD = 5e-6**0.5
"""Root mean square of ``x_s - f(x_s)`` below which the released code ends a step."""


class SPDInv(SinglestepMethod):
    """Step after step, from the naive inversion of each: AdamW on ``mean (x_s - f(x_s))^2``.

    The authors invert without guidance, and edit with the source's prompt as the negative one; that their programs also swap
    attention maps, cut small guidance away and draw edits to the inversion's points is no part of this. Where the first
    iterate meets the tolerance, as it mostly does with 50 steps, the step of AdamW after it is all that there is.
    """

    def __init__(
        self,
        update: UpdateFactory | None = None,
        max_iters: int = 25,
        tolerance: float = THRESHOLD,
        last_iterate: bool = True,
    ) -> None:
        """Set rule and stopping; the defaults are the released code's.

        Args:
            update: The update rule; by default AdamW with rate 0.001.
            max_iters: Largest number of iterations of a sample for one step, at least 1, each of one prediction and its
                backward pass; the naive inversion takes one prediction before them.
            tolerance: Root mean square of ``x_s - f(x_s)`` below which a step is inverted, at least 0.
            last_iterate: Whether to take the iterate after the last update, that on the iterate that meets the tolerance or is
                the last of ``max_iters``, instead of the best one evaluated; it costs one more prediction a step.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(0, tolerance=tolerance)
        stopping = Stopping(max_iters, tolerance, None, last_iterate, beyond=last_iterate)
        super().__init__(update or partial(AdamW, lr=1e-3), stopping)

    def check(self, trajectory: Trajectory) -> None:
        """Refuse samplers that begin with noise alone, of which f is not known, multistep ones, and those of pairs."""
        super().check(trajectory)
        refuse_pure_noise(trajectory, type(self).__name__)

    def back(self, process: Process, step: Step, point: Tensor, target: Tensor, latent: Tensor) -> Course:
        """Descend from the naive inversion."""
        start = naive_step(process, step, target)
        return (yield FixedPointProblem(process, step.plain, target, start)).latent
