"""The way back through samplers that have an inverse in closed form."""

from torch import Tensor

from decinv.course import Course
from decinv.diffusion.process import Process
from decinv.diffusion.sampler import Trajectory
from decinv.methods.base import Method
from decinv.problems.sampling import SamplingProblem
from decinv.stopping import Stopping
from decinv.updates.forward import ForwardStep


class PairInversion(Method):
    """Run a sampler of pairs of points, EDICT, BDIA or BELM, backwards: exact where both are known, without iteration.

    Both are known of generated images whose latents are, with ``KnownLatent``. Of any other image only one is, and the other is
    made up, much as the sampler's authors do; see the samplers' ``complete``. Their code keeps both points that it finds, from
    which it samples the image anew exactly; noise is one tensor here. The residual is that of the latent sampled anew from it,
    ``||x_0' - x_0|| / ||x_0||``; measuring it is not counted as evaluations.
    """

    def __init__(self, rtol: float = 1e-3) -> None:
        """Set what counts as inverted.

        Args:
            rtol: Residual below which a sample has converged, at least 0.

        Raises:
            ValueError: If ``rtol`` is out of range.
        """
        super().__init__(ForwardStep, Stopping(max_iters=1, rtol=rtol, patience=None))

    def check(self, trajectory: Trajectory) -> None:
        """Refuse samplers whose points go alone."""
        if trajectory.coupling is None:
            raise ValueError(
                "Expected a sampler of pairs of points for PairInversion, as EDICT is, but got another; use `ExactInversion`."
            )

    def problems(self, trajectory: Trajectory) -> int:
        """There is one."""
        return 1

    def course(self, process: Process, latent: Tensor) -> Course:
        """Go back, then measure."""
        noise = process.invert_pair(latent)
        with process.uncounted():
            yield SamplingProblem(process, latent, noise)
        return noise
