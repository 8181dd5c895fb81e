import pytest
import torch

from decinv.diffusion import DDIM, Condition, DPMSolver, EulerAncestral, FireFlow, FlowMidpoint, Guidance, Process
from decinv.editing import regenerate
from decinv.editing.regeneration import first_step

FLOWS = [FlowMidpoint(4), FireFlow(7)]


@pytest.mark.parametrize("sampler", [DDIM(8), DPMSolver(8), *FLOWS], ids=["ddim", "2m", "midpoint", "fireflow"])
@pytest.mark.parametrize("strength", [1.0, 0.5, 0.01])
def test_the_own_prompt_gives_the_image_itself(make, sampler, strength):
    process, source = make([1.0, -1.0], 3.0, sampler)
    same = regenerate(process, source, process.guidance, [process.condition] * 8, strength=strength)
    torch.testing.assert_close(same, source[-1].following)


@pytest.mark.parametrize("sampler", [DDIM(8), DPMSolver(8)], ids=["ddim", "2m"])
def test_another_prompt_gives_what_it_samples_from_that_noise(make, sampler):
    process, source = make([1.0, -1.0], 3.0, sampler)
    other, expected = make([0.5, 2.0], 2.0, sampler)
    edited = regenerate(process, source, other.guidance, [other.condition] * 8)
    torch.testing.assert_close(edited, expected[-1].following)


def test_a_mask_keeps_the_background_and_changes_nothing_inside(make):
    process, source = make([1.0, -1.0], 3.0, DPMSolver(8))
    other, expected = make([0.5, 2.0], 2.0, DPMSolver(8))
    mask = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    mask[0, 0, 1:3, 1:3] = mask[1, 0, 0] = True
    edited = regenerate(process, source, other.guidance, [other.condition] * 8, mask)
    assert torch.equal(torch.where(mask, 0, edited), torch.where(mask, 0, source[-1].following))
    torch.testing.assert_close(torch.where(mask, edited, 0), torch.where(mask, expected[-1].following, 0))


def test_one_source_serves_several_edits(make, prompts):
    process, source = make([1.0])
    targets = prompts(0.5, 2.0, 1.0)
    edited = regenerate(process, source, process.guidance, [Condition(targets)] * 8)
    alone = regenerate(process, source, process.guidance, [Condition(targets.select(torch.tensor([1])))] * 8)
    torch.testing.assert_close(edited[1:2], alone)
    torch.testing.assert_close(edited[2:], source[-1].following)


def test_ancestral_steps_add_the_noise_of_the_source(make):
    plain, _ = make([1.0, -1.0])
    trajectory = EulerAncestral(4).trajectory(plain.trajectory.config)
    added = list(torch.randn(4, 2, 2, 4, 4, generator=torch.Generator().manual_seed(1)))
    process = Process(trajectory, Guidance(plain.guidance.denoiser, 3.0), plain.condition, added)
    source = tuple(process.walk(torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(2))))
    same = regenerate(process, source, process.guidance, [process.condition] * 4)
    torch.testing.assert_close(same, source[-1].following)


def test_the_first_step():
    assert [first_step(10, part) for part in (1.0, 0.7, 0.1, 0.001)] == [0, 3, 9, 9]
    for part in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="`strength`"):
            first_step(10, part)
