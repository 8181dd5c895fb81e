"""Processes on normal data, whose steps are affine."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from decinv.diffusion import Condition, GaussianDenoiser, Guidance, Process, Prompt, Sampler

CONFIG: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
}


@pytest.fixture
def noise() -> torch.Tensor:
    """Give standard normal noise ``(2, 3, 4, 4)``."""
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def make() -> Callable[..., Process]:
    """Make the process of a sampler, on data with deviations from ``low`` to ``high`` and prompts for means."""

    def process(sampler: Sampler, scale: float = 3.0, low: float = 0.2, high: float = 1.2, **options: Any) -> Process:
        config = CONFIG | options
        generator = torch.Generator().manual_seed(3)
        positive, negative = (torch.randn(2, 3, 1, 1, generator=generator) for _ in range(2))
        trajectory = sampler.trajectory(config)
        added = [torch.randn(2, 3, 4, 4, generator=generator) for _ in trajectory.steps]
        denoiser = GaussianDenoiser(config, torch.linspace(low, high, 48).view(3, 4, 4))
        condition = Condition(Prompt(positive), Prompt(negative))
        return Process(trajectory, Guidance(denoiser, scale), condition, added)

    return process


@pytest.fixture
def descend() -> Callable[..., torch.Tensor]:
    """Write SPDInv, and with ``rate`` DCI, down once more, a sample at a time.

    AdamW on the mean square of ``x - back(x_t, eps(x))``, where eps is moved by ``rate`` towards the latent, until it was below
    ``enough`` before a step; one prediction more judges the last point.
    """

    def found(
        process: Process, latent: torch.Tensor, rounds: int, lr: float, rate: float = 0.0, enough: float = 0.0
    ) -> torch.Tensor:
        samples = []
        for row in range(len(latent)):
            rows, image = torch.tensor([row]), latent[row : row + 1]
            point = image
            for step in reversed(process.steps):
                known = point
                there = step.landed
                point = step.back(known, there.eps(known, process.predict(there, known, rows))).requires_grad_()
                adam = torch.optim.AdamW([point], lr=lr)
                for _ in range(rounds):
                    adam.zero_grad()
                    eps = step.eps(point, process.predict(step, point, rows))
                    (slope,) = torch.autograd.grad(torch.linalg.norm(image - eps), eps, retain_graph=True)
                    loss = torch.nn.functional.mse_loss(point, step.back(known, eps - rate * slope))
                    loss.backward()
                    adam.step()
                    if loss < enough:
                        break
                point = point.detach()
                process.predict(step, point, rows)
            samples.append(point)
        return torch.cat(samples)

    return found
