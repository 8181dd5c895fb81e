"""One step of a sampler as GNRI states it: a scalar objective, and one Newton step on it."""

import torch
from torch import Tensor

from decinv.diffusion.process import Process
from decinv.diffusion.step import Step
from decinv.problems.base import Evaluation, spread
from decinv.problems.step import StepProblem


class ImplicitStepProblem(StepProblem):
    """One step of first order as ``z = f(z)`` with its implicit map f (Samuel et al., arXiv 2312.12540).

    For steps between points of unit variance, as DDIM's are, ``f(z) = ratio x_t + (sigma_s - ratio sigma_t) eps(z)`` with
    ``ratio = alpha_s / alpha_t``; for those of Euler's method and of flows ``f(z) = x_t + (sigma_s - sigma_t) v(z)``.
    """

    @property
    def ratio(self) -> float:
        """How much ``z - f(z)`` is of ``step(z) - x_t``."""
        start, end = self.step.start, self.step.end
        return start.alpha / end.alpha if self._unit and start.alpha > 0 else 1.0

    @property
    def _unit(self) -> bool:
        """Whether both points have unit variance where data have it."""
        return all(abs(level.square - 1) < 1e-6 for level in (self.step.start, self.step.end))

    def implicit(self, point: Tensor) -> Tensor:
        """Give f at points of the active samples."""
        return point - self.ratio * (self.reached(point) - self.target)


class GuidedNewtonProblem(ImplicitStepProblem):
    """``F(z) = ||z - f(z)||_1 + weight G(z)``, with the map f of ``ImplicitStepProblem``.

    For steps between points of unit variance, ``G(z) = ||z - mu|| / beta`` keeps z where the forward process would have it,
    ``q(x_s | x_t) = N(mu, beta I)``; for others ``G(z) = ||z - mu||``. With D the number of values and g the gradient of F, the
    residual is ``F / (D (g + eta))``, so that a forward step of size 1 is GNRI's.
    """

    def __init__(
        self, process: Process, step: Step, target: Tensor, start: Tensor, weight: float = 0.1, eta: float = 1e-6
    ) -> None:
        """State the problem; see ``StepProblem``.

        Args:
            process: The forward process.
            step: One of its steps, of first order.
            target: x_t, the points ``(B, C, h, w)`` to which the step shall lead.
            start: Where to start, of the same shape.
            weight: Weight of the guidance term, at least 0.
            eta: What is added to each value of the gradient.
        """
        super().__init__(process, step, target, start)
        self.weight = weight
        self.eta = eta

    @torch.enable_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Evaluate F and its gradient."""
        start, end = self.step.start, self.step.end
        point = point.detach().requires_grad_()
        implicit = self.implicit(point)
        mean = start.alpha / end.alpha
        beta = start.sigma**2 - (mean * end.sigma) ** 2 if self._unit else 1.0
        deviation = torch.linalg.vector_norm((point - mean * self.target).flatten(1), dim=1)
        objective = (point - implicit).abs().flatten(1).sum(1) + self.weight * deviation / beta
        with self.process.guidance.denoiser.arithmetic():
            (gradient,) = torch.autograd.grad(objective.sum(), point)
        values = point[0].numel()
        direction = spread(objective.detach(), point) / (values * (gradient + self.eta))
        return self.judged((point - implicit).detach() / self.ratio, direction)


class SignStepProblem(ImplicitStepProblem):
    """GNRI as its released code computes it: without gradients through the network, so that g has only signs.

    The residual is ``mean h sign(z - f(z))`` with ``h = |z - f(z)| + weight / 2 ((f(z) - alpha_s z_0) / sigma_s)^2``, z_0 the
    latent that the trajectory ends at.

    Attributes:
        image: f at the point of each sample whose mean h is the smallest so far, ``(B, C, h, w)``.
        score: That mean, ``(B,)``.
    """

    image: Tensor
    score: Tensor

    def __init__(
        self, process: Process, step: Step, target: Tensor, start: Tensor, latent: Tensor, weight: float = 0.1
    ) -> None:
        """State the problem as ``StepProblem`` does, for the latent z_0 and the weight of an image's improbability."""
        super().__init__(process, step, target, start)
        self.weight = weight
        self.reference = latent

    def start(self) -> Tensor:
        """Give the start."""
        self.image = torch.zeros_like(self.first)
        self.score = torch.full((len(self.first),), torch.inf, device=self.first.device)
        return super().start()

    @torch.no_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Evaluate the implicit map, and keep the best image."""
        implicit, level = self.implicit(point), self.step.start
        error = point - implicit
        unlikely = ((implicit - level.alpha * self.reference[self.rows]) / level.sigma).square()
        size = (error.abs() + self.weight / 2 * unlikely).flatten(1).mean(1)
        better = size < self.score[self.rows]
        self.image[self.rows[better]], self.score[self.rows[better]] = implicit[better], size[better]
        return self.judged(error / self.ratio, spread(size, point) * error.sign())

    def state_dict(self) -> dict[str, Tensor]:
        """Give the images and scores, too."""
        return super().state_dict() | {"image": self.image, "score": self.score}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take them over."""
        super().load_state_dict(state)
        self.image, self.score = (state[name].to(self.first.device) for name in ("image", "score"))
