"""Guidance, and the count of evaluations."""

import pytest
import torch

from decinv.diffusion import Condition, GaussianDenoiser, Guidance


class Counted(GaussianDenoiser):
    """Count the rows that are evaluated."""

    evaluations = 0

    def _predict(self, point, time, prompt):
        self.evaluations += len(point)
        return super()._predict(point, time, prompt)


def test_guidance_leads_away_from_the_negative_prompt(config, noise, condition, deviation):
    denoiser = Counted(config, deviation)
    towards = denoiser.predict(noise, torch.full((2,), 500.0), condition.prompt)
    away = denoiser.predict(noise, torch.full((2,), 500.0), condition.negative)
    denoiser.evaluations = 0
    torch.testing.assert_close(Guidance(denoiser, 3.0)(noise, 500, condition), away + 3 * (towards - away))
    assert denoiser.evaluations == 4


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_without_guidance_the_negative_prompt_is_not_evaluated(config, noise, condition, scale):
    denoiser = Counted(config)
    found = Guidance(denoiser, scale)(noise, 500, Condition(condition.prompt))
    assert denoiser.evaluations == 2
    torch.testing.assert_close(found, denoiser.predict(noise, torch.full((2,), 500.0), condition.prompt))


def test_guidance_needs_negative_prompts(config, noise, condition):
    with pytest.raises(ValueError, match="negative prompts"):
        Guidance(GaussianDenoiser(config), 3.0)(noise, 500, Condition(condition.prompt))
    with pytest.raises(ValueError, match="guidance scale"):
        Guidance(GaussianDenoiser(config), -1.0)


def test_each_row_has_its_time_and_prompt(config, noise, condition, deviation):
    guidance = Guidance(GaussianDenoiser(config, deviation), 2.0)
    both = guidance(noise, torch.tensor([10.0, 900.0]), condition)
    for row, time in enumerate((10.0, 900.0)):
        keep = torch.tensor([row])
        torch.testing.assert_close(both[keep], guidance(noise[keep], time, condition.select(keep)))
