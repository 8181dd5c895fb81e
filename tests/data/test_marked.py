import pytest
import torch

from decinv.data import GeneratedNoise, MarkedNoise
from decinv.watermark import ThreeKeys


@pytest.mark.parametrize("number", range(8))
def test_each_mark_comes_in_turn_and_then_none(number):
    shape = (4, 8, 8)
    data = MarkedNoise(ThreeKeys(shape), count=8)
    noise = data.draw(number, shape)
    plain = GeneratedNoise(count=8).draw(number, shape)
    if number % 4 == 3:
        assert data.which(number) == -1
        assert torch.equal(noise, plain)
    else:
        finding = data.watermark.find(noise[None])[0]
        assert data.which(number) == finding.mark == number % 4
        assert finding.distance < 1e-5
        assert torch.equal(noise[1:], plain[1:])


def test_every_mark_and_none_have_the_same_prompts():
    data = MarkedNoise(ThreeKeys((4, 8, 8)), count=16)
    seen = {(data.which(number), data.prompt(number)) for number in range(16)}
    assert len(seen) == 16
    assert {mark for mark, _ in seen} == {-1, 0, 1, 2}
