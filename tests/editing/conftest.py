"""Normal data whose mean is the prompt: pointwise, so that what an edit should come to is known."""

import pytest
import torch

from decinv.diffusion import DDIM, Condition, GaussianDenoiser, Guidance, Process, Prompt

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def prompt(*means):
    """Give prompts whose embeddings are full latents, so that each value can be optimised."""
    return Prompt(torch.tensor(means).view(-1, 1, 1, 1).expand(-1, 2, 4, 4).clone())


@pytest.fixture
def prompts():
    return prompt


@pytest.fixture
def make():
    def process(source, guidance=1.0, sampler=None, negative=0.0):
        trajectory = (sampler or DDIM(8)).trajectory(CONFIG)
        guided = Guidance(GaussianDenoiser(CONFIG, 0.5), guidance)
        away = prompt(*[negative] * len(source))
        made = Process(trajectory, guided, Condition(prompt(*source), away))
        noise = torch.randn(len(source), 2, 4, 4, generator=torch.Generator().manual_seed(0))
        return made, tuple(made.walk(noise))

    return process
