"""GNRI's objective and directions, against formulas."""

import pytest
import torch

from decinv.diffusion import DDIM, Condition, GaussianDenoiser, Guidance, Process, Prompt, RectifiedFlow
from decinv.problems.guided_newton import GuidedNewtonProblem, SignStepProblem

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.fixture
def stated():
    process = Process(
        DDIM(5).trajectory(CONFIG), Guidance(GaussianDenoiser(CONFIG, 0.5)), Condition(Prompt(torch.zeros(2, 1, 1, 1)))
    )
    generator = torch.Generator().manual_seed(0)
    point, target = (torch.randn(2, 3, 2, 2, generator=generator) for _ in range(2))
    return process, process.steps[1], point, target


def test_newton_direction(stated):
    process, step, point, target = stated

    def objective(z):
        ratio = step.start.alpha / step.end.alpha
        implicit = step.back(target, step.eps(z, process.predict(step, z)))
        beta = step.start.sigma**2 - (ratio * step.end.sigma) ** 2
        return (z - implicit).abs().sum((1, 2, 3)) + 0.1 * (z - ratio * target).square().sum((1, 2, 3)).sqrt() / beta

    problem = GuidedNewtonProblem(process, step, target, target)
    direction = problem.evaluate(point).residual
    for row in range(2):
        moved = torch.zeros_like(point)
        moved[row, 0, 1, 1] = 1e-3
        slope = (objective(point + moved) - objective(point - moved))[row] / 2e-3
        expected = objective(point)[row] / (12 * (slope + problem.eta))
        torch.testing.assert_close(direction[row, 0, 1, 1], expected, rtol=2e-2, atol=1e-3)


def test_newton_direction_on_a_flow():
    """Where the first point is noise alone, as of one-step flows: f is Euler's method backwards, and G has no beta."""
    step = RectifiedFlow(1).trajectory({}).steps[0]
    prompt = Prompt(torch.zeros(2, 1, 1, 1))
    process = Process(RectifiedFlow(1).trajectory({}), Guidance(GaussianDenoiser(CONFIG, 0.5)), Condition(prompt))
    generator = torch.Generator().manual_seed(0)
    point, target = (torch.randn(2, 3, 2, 2, generator=generator) for _ in range(2))
    problem = GuidedNewtonProblem(process, step, target, target)
    evaluation = problem.evaluate(point)
    velocity = process.predict(step, point)
    implicit = target - velocity  # the network predicts the way to data
    torch.testing.assert_close(problem.implicit(point).detach(), implicit)
    gap = (point + velocity - target).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1)
    torch.testing.assert_close(evaluation.merit, gap)
    assert (evaluation.merit > 0.1).all()


def test_released_code_takes_sign_steps(stated):
    process, step, point, target = stated
    latent = torch.randn(target.shape, generator=torch.Generator().manual_seed(5))
    problem = SignStepProblem(process, step, target, target, latent)
    problem.start()
    evaluation = problem.evaluate(point)
    implicit = step.back(target, step.eps(point, process.predict(step, point)))
    unlikely = ((implicit - step.start.alpha * latent) / step.start.sigma).square()
    score = ((point - implicit).abs() + 0.05 * unlikely).mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(problem.image, implicit)
    torch.testing.assert_close(evaluation.residual, (point - implicit).sign() * score)
    reached = step(point, process.predict(step, point))
    torch.testing.assert_close(
        evaluation.merit, (reached - target).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1), rtol=1e-4, atol=1e-4
    )
    worse = torch.tensor([True, False])  # keeps the image of the better point, sample by sample
    problem.score[worse] = 0.0
    problem.score[~worse] = torch.inf
    problem.image.zero_()
    problem.evaluate(point)
    torch.testing.assert_close(problem.image[~worse], implicit[~worse])
    assert not problem.image[worse].any()
