"""One step of a sampler as GNRI states it: a scalar objective, and one Newton step on it."""

import torch
from torch import Tensor

from decinv.problems.base import Evaluation
from decinv.problems.step import StepProblem


class GuidedNewtonProblem(StepProblem):
    """``F(z) = ||z - f(z)||_1 + weight G(z)``, f the implicit map of a step of first order (Samuel et al., arXiv 2312.12540).

    ``G(z) = ||z - mu|| / beta`` keeps z where the forward process would have it, ``q(x_s | x_t) = N(mu, beta I)``. With D the
    number of values and g the gradient of F, the residual is ``F / (D (g + eta))``, so that a forward step of size 1 is GNRI's.
    """

    weight: float = 0.1
    eta: float = 1e-6

    def implicit(self, point: Tensor) -> Tensor:
        """Give f at points of the active samples."""
        output = self.process.predict(self.step, point, self.rows)
        self.output[self.rows] = output.detach()
        return self.step.back(self.target, self.step.eps(point, output))

    @torch.enable_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Evaluate F and its gradient."""
        start, end = self.step.start, self.step.end
        point = point.detach().requires_grad_()
        implicit = self.implicit(point)
        ratio = start.alpha / end.alpha
        beta = start.sigma**2 - (ratio * end.sigma) ** 2
        deviation = torch.linalg.vector_norm((point - ratio * self.target).flatten(1), dim=1)
        objective = (point - implicit).abs().flatten(1).sum(1) + self.weight * deviation / beta
        (gradient,) = torch.autograd.grad(objective.sum(), point)
        values = point[0].numel()
        direction = objective.detach().view(-1, *[1] * (point.ndim - 1)) / (values * (gradient + self.eta))
        return self.judged(self._residual(point.detach(), implicit.detach()), direction)

    def _residual(self, point: Tensor, implicit: Tensor) -> Tensor:
        """Give ``step(x_s) - x_t``, which is the implicit map's error in other units."""
        ratio = self.step.start.alpha / self.step.end.alpha
        return (point - implicit) / ratio if ratio > 0 else point - implicit


class SignStepProblem(GuidedNewtonProblem):
    """GNRI as its released code computes it: without gradients through the network, so that g has only signs.

    The residual is ``mean|z - f(z)| sign(z - f(z))``.

    Attributes:
        image: f at the point of each sample that was evaluated last, ``(B, C, h, w)``.
    """

    image: Tensor

    def start(self) -> Tensor:
        """Give the start."""
        self.image = torch.zeros_like(self.first)
        return super().start()

    @torch.no_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Evaluate the implicit map, and keep its image."""
        implicit = self.implicit(point)
        self.image[self.rows] = implicit
        error = point - implicit
        size = error.abs().flatten(1).mean(1).view(-1, *[1] * (point.ndim - 1))
        return self.judged(self._residual(point, implicit), size * error.sign())

    def state_dict(self) -> dict[str, Tensor]:
        """Give the images, too."""
        return super().state_dict() | {"image": self.image}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take them over."""
        super().load_state_dict(state)
        self.image = state["image"].to(self.first.device)
