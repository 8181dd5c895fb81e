import pytest
import torch

from decinv.codecs import LinearCodec
from decinv.data import GeneratedNoise, MarkedNoise
from decinv.data.buckets import Sample
from decinv.images.attacks import Attack
from decinv.runs import Input
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


class Half(Attack):
    def __call__(self, image, numbers):
        return image[..., ::2]


def test_an_attack_that_gives_another_shape_is_named(monkeypatch):
    sample = Sample("a", torch.zeros(3, 8, 8), (8, 8))
    monkeypatch.setattr(GeneratedNoise, "load", lambda self, item, codec: sample)
    with pytest.raises(ValueError, match=r"Half to give images of the shape that it gets.*, but got \(1, 3, 8, 4\)"):
        MarkedNoise(ThreeKeys((4, 8, 8)), Half()).load(Input(0, "a"), LinearCodec())
