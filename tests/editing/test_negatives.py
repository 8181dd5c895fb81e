import pytest
import torch

from decinv.diffusion import Condition, DPMSolver, GaussianDenoiser, Guidance, Process, Prompt
from decinv.editing import NullText, SourcePrompt, regenerate


def edit(process, source, guidance, negatives, prompt):
    return regenerate(process, source, guidance, [Condition(prompt, negative) for negative in negatives])


def test_the_source_as_negative_prompt_undoes_its_guidance(make, prompts):
    process, source = make([1.0, -1.0])
    guidance = Guidance(process.guidance.denoiser, 7.5)
    own, empty = process.condition.prompt, prompts(0.0, 0.0)
    negatives = SourcePrompt().prompts(process, source, guidance, empty)
    torch.testing.assert_close(edit(process, source, guidance, negatives, own), source[-1].following)
    assert not torch.allclose(edit(process, source, guidance, [empty] * 8, own), source[-1].following, atol=0.1)


@pytest.mark.parametrize("sampler", [None, DPMSolver(8)], ids=["ddim", "2m"])
def test_null_text_leads_guided_steps_along_the_trajectory(make, prompts, sampler):
    """The prediction of the empty prompt should be that of the source's, which for normal data is an equal mean."""
    process, source = make([0.3, -0.2], sampler=sampler)
    guidance = Guidance(process.guidance.denoiser, 7.5)
    empty = prompts(0.0, 0.0)
    negatives = NullText(iterations=40, lr=0.02).prompts(process, source, guidance, empty)
    assert len(negatives) == 8
    torch.testing.assert_close(negatives[-1].embedding, process.condition.prompt.embedding, rtol=0, atol=0.04)
    followed, plain = (
        (edit(process, source, guidance, found, process.condition.prompt) - source[-1].following).square().mean().sqrt()
        for found in (negatives, [empty] * 8)
    )
    assert followed < 0.02 * plain


def test_null_text_is_its_authors_loop_where_the_error_falls(make, prompts):
    """Written down once more with an embedding of its own for each sample, of which the last is taken, as their code does."""
    process, source = make([3.0, -2.0])
    guidance, empty = Guidance(process.guidance.denoiser, 7.5), prompts(0.0, 0.0)
    found = NullText().prompts(process, source, guidance, empty)
    for row in range(2):
        own = process.condition.prompt.select(torch.tensor([row]))
        trial, point = empty.embedding[row : row + 1].clone(), source[0].point[row : row + 1]
        for index, (step, goal) in enumerate(zip(process.steps, source, strict=True)):
            trial = trial.detach().requires_grad_()
            adam = torch.optim.Adam([trial], 0.01 * (1 - index / 16))
            for _ in range(10):
                adam.zero_grad()
                reached = step(point, guidance(point, step.time, Condition(own, Prompt(trial))))
                torch.nn.functional.mse_loss(reached, goal.following[row : row + 1]).backward()
                adam.step()
            torch.testing.assert_close(found[index].embedding[row : row + 1], trial, rtol=0, atol=1e-5)
            point = step(point, guidance(point, step.time, Condition(own, Prompt(trial)))).detach()


def test_null_text_of_a_sample_does_not_depend_on_others(make, prompts):
    process, source = make([0.3, -0.2])
    alone, first = make([0.3])
    guidance = Guidance(process.guidance.denoiser, 3.0)
    method = NullText(iterations=3)
    both = method.prompts(process, source, guidance, prompts(0.0, 0.0))
    torch.testing.assert_close(
        [one.embedding[:1] for one in both],
        [one.embedding for one in method.prompts(alone, first, guidance, prompts(0.0))],
    )


def test_null_text_never_ends_worse_than_it_begins(make, prompts):
    process, source = make([0.3])
    guidance = Guidance(process.guidance.denoiser, 3.0)
    empty = prompts(0.0)
    wild = NullText(iterations=1, lr=1e3).prompts(process, source, guidance, empty)
    assert all(torch.equal(one.embedding, empty.embedding) for one in wild)
    with pytest.raises(ValueError, match="`iterations`"):
        NullText(iterations=0)


class HalfDenoiser(GaussianDenoiser):
    """A network that computes in 16 bits."""

    def _predict(self, point, time, prompt):
        return super()._predict(point, time, prompt).half()


@pytest.mark.parametrize("kind", [GaussianDenoiser, HalfDenoiser])
def test_null_text_finds_its_way_through_a_network_of_16_bits(make, kind):
    """In the last step, the mean of the squared errors has gradients of some 1e-8, which 16 bits do not hold."""
    trajectory = make([0.0])[0].trajectory
    source = Condition(Prompt(torch.full((1, 1, 1, 1), 0.01)))
    process = Process(trajectory, Guidance(kind(trajectory.config, 0.5)), source)
    walked = tuple(process.walk(torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))))
    guidance, empty = Guidance(process.guidance.denoiser, 3.0), Prompt(torch.zeros(1, 1, 1, 1))
    found = [float(one.embedding) for one in NullText(iterations=3, lr=1e-3).prompts(process, walked, guidance, empty)]
    assert found[-2:] == pytest.approx([0.00986, 0.01152], abs=2e-4)
