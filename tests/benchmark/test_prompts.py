from itertools import pairwise

import pytest

from decinv.benchmark.watermark.prompts import PLACES, THINGS, default_prompts, photographs
from decinv.diffusion.captions import LONGEST, WORDS


@pytest.mark.parametrize("pipeline", ["bundled", "bundled-flow"])
def test_bundled_models_get_a_caption_of_their_own_language_for_each_image(pipeline):
    prompts = default_prompts(pipeline, 100)
    assert len(set(prompts)) == 100
    assert all(set(prompt.split()) <= set(WORDS) and len(prompt.split()) <= LONGEST for prompt in prompts)
    assert default_prompts(pipeline, 7) == prompts[:7]


def test_other_models_get_photographs():
    prompts = default_prompts("/some/model", 1000)
    assert prompts == photographs()
    assert len(set(prompts)) == 100
    assert default_prompts("/some/model", 3) == prompts[:3]
    assert all(sum(prompt.count(word) for prompt in prompts) == 10 for word in (*THINGS, *PLACES))
    for first, second in pairwise(prompts):
        assert not any(word in first and word in second for word in (*THINGS, *PLACES))
