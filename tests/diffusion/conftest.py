"""The schedule of Stable Diffusion, and a denoiser that is known in closed form."""

from typing import Any

import pytest
import torch

from decinv.diffusion import Condition, Prompt


@pytest.fixture
def config() -> dict[str, Any]:
    """Give the config of Stable Diffusion's scheduler."""
    return {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "steps_offset": 1,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
    }


@pytest.fixture
def condition() -> Condition:
    """Give two samples' prompts, which are the means of their data, and negative ones."""
    generator = torch.Generator().manual_seed(3)
    positive, negative = (torch.randn(2, 3, 1, 1, generator=generator) for _ in range(2))
    return Condition(Prompt(positive), Prompt(negative))


@pytest.fixture
def deviation() -> torch.Tensor:
    """Give deviations ``(3, 4, 4)`` of data from 0.1 to 1.5."""
    return torch.linspace(0.1, 1.5, 48).view(3, 4, 4)


@pytest.fixture
def noise() -> torch.Tensor:
    """Give standard normal noise ``(2, 3, 4, 4)``."""
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
