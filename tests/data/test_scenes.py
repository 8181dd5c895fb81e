"""Captioned scenes: determined by their numbers, and showing what their captions say."""

import pytest
import torch

from decinv.data import captioned_scene
from decinv.data.scenes import RGB
from decinv.diffusion.captions import WORDS


def test_a_scene_is_determined_by_its_numbers():
    state = torch.get_rng_state()
    image, caption = captioned_scene(3, 32, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    again, same = captioned_scene(3, 32, seed=5)
    assert torch.equal(image, again)
    assert caption == same
    for other in (captioned_scene(4, 32, seed=5), captioned_scene(3, 32, seed=6)):
        assert (image - other[0]).abs().mean() > 0.05


def test_pixels_are_on_the_8_bit_grid():
    levels = (torch.stack([captioned_scene(i, 32)[0] for i in range(6)]).double() + 1) * 127.5
    assert (levels - levels.round()).abs().max() < 1e-4
    assert levels.min() > -1e-4
    assert levels.max() < 255 + 1e-4


@pytest.mark.parametrize("index", range(6))
def test_another_size_is_the_same_scene(index):
    small, caption = captioned_scene(index, 64)
    large, same = captioned_scene(index, 128)
    assert caption == same
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.03


def test_scenes_have_the_colours_of_their_captions():
    """Most of a plain background, and the middle of a lone thing, have the named colour."""
    seen = set()
    for index in range(200):
        image, caption = captioned_scene(index, 32, seed=2)
        words = caption.split()
        assert set(words) <= set(WORDS)
        seen |= set(words)
        if words[-3] != "plain" or words.count("and"):
            continue
        pixels = ((image + 1) * 127.5).flatten(1).T
        near = {word: ((pixels - torch.tensor(RGB[word])).abs().amax(1) < 14).float().mean() for word in (words[1], words[-2])}
        assert near[words[-2]] > 0.4
        assert near[words[1]] > 0.02
        assert sum(near.values()) > 0.7
    assert seen == set(WORDS)


@pytest.mark.parametrize(("arguments", "text"), [((-1, 64, 0), "`index`"), ((0, 64, -1), "-1"), ((0, 31, 0), "but got 31")])
def test_wrong_numbers(arguments, text):
    with pytest.raises(ValueError, match=text):
        captioned_scene(*arguments)
