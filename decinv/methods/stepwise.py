"""Step after step, from the latent to the noise: each step's unknown is found by iteration."""

from torch import Tensor

from decinv.course import Course
from decinv.diffusion.process import Process
from decinv.methods.base import FirstOrderMethod
from decinv.problems.step import StepProblem
from decinv.stopping import Stopping
from decinv.updates.base import UpdateFactory
from decinv.updates.residual_anderson import ResidualAnderson


class Stepwise(FirstOrderMethod):
    """Invert the steps of a first-order sampler one after another; each unknown starts from the noise predicted before it."""

    def __init__(
        self,
        update: UpdateFactory = ResidualAnderson,
        max_iters: int = 50,
        rtol: float = 1e-6,
        patience: int | None = 10,
        last_iterate: bool = False,
        precondition: bool = True,
        extrapolate: bool = True,
    ) -> None:
        """Set rule and stopping.

        With ``ForwardStep`` it is the fixed-point iteration of AIDI (Pan et al., arXiv 2309.04907), with ``ResidualAnderson``
        that with Anderson acceleration (its variant that averages two iterates is not here), and with
        ``AveragedForwardStep`` ReNoise (Garibi et al., arXiv 2403.14602). Where the network predicts a velocity, that is kept
        from iterate to iterate, not the noise that follows from it, which contracts a little better.

        Args:
            update: The update rule.
            max_iters: Largest number of predictions of a sample for one step, at least 1.
            rtol: ``||step(x_s) - x_t|| / ||x_t||`` below which a step is inverted, at least 0.
            patience: Iterations without progress after which a step has stalled, at least 1; null for never.
            last_iterate: Whether to take the iterate after the last update instead of the best one evaluated; it costs one more
                prediction a step.
            precondition: Whether the residual is divided by the step's ``slope``, mostly the coefficient of x_s, which makes a
                forward step of size 1 fixed-point iteration; else it is that of Algorithm 1 of arXiv 2311.18387.
            extrapolate: Whether a step starts from noise extrapolated from the two steps before; else from x_t itself.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(update, Stopping(max_iters, rtol, patience, last_iterate))
        self.precondition = precondition
        self.extrapolate = extrapolate

    def course(self, process: Process, latent: Tensor) -> Course:
        """Invert the last step, the one before it, and so on."""
        point = latent
        eps: list[Tensor] = []
        for index in reversed(range(len(process.steps))):
            step, noise = process.steps[index], process.noise(index)
            target = process.before_noise(index, point)
            start = step.back(target, _extrapolated(eps)) if eps and self.extrapolate else point
            problem = StepProblem(process, step, point, start, step.slope if self.precondition else 1.0, noise=noise)
            point = (yield problem).latent
            eps = [step.eps(point, problem.output), *eps[:1]]
        return point / process.trajectory.start


def _extrapolated(eps: list[Tensor]) -> Tensor:
    """Go on in a straight line from the last two predictions, the newer one first."""
    return eps[0] if len(eps) == 1 else 2 * eps[0] - eps[1]
