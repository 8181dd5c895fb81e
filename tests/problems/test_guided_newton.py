"""GNRI's objective and directions, against formulas."""

import pytest
import torch

from decinv.diffusion import DDIM, Condition, GaussianDenoiser, Guidance, Process, Prompt
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


def test_released_code_takes_sign_steps(stated):
    process, step, point, target = stated
    problem = SignStepProblem(process, step, target, target)
    problem.start()
    evaluation = problem.evaluate(point)
    error = point - step.back(target, step.eps(point, process.predict(step, point)))
    torch.testing.assert_close(problem.image, point - error)
    torch.testing.assert_close(evaluation.residual, error.sign() * error.abs().mean((1, 2, 3), keepdim=True))
    reached = step(point, process.predict(step, point))
    torch.testing.assert_close(
        evaluation.merit, (reached - target).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1), rtol=1e-4, atol=1e-4
    )
