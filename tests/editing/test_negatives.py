import pytest
import torch

from decinv.diffusion import Condition, DPMSolver, Guidance
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
