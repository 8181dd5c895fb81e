"""Moving scenes: seeded, each frame by itself, and moving."""

import pytest
import torch

from decinv.data import MovingScene


def test_frames_do_not_depend_on_each_other_or_on_their_order():
    first, second = MovingScene(3, 16, 5), MovingScene(3, 16, 5)
    later = first.frame(9)
    assert torch.equal(torch.stack([second.frame(k) for k in range(10)])[9], later)
    assert not torch.equal(MovingScene(4, 16, 5).frame(0), first.frame(0))
    assert not torch.equal(MovingScene(3, 16, 6).frame(0), first.frame(0))


def test_frames_are_images_of_8_bits():
    image = MovingScene(0, 24).frame(0)
    assert image.shape == (3, 24, 24)
    levels = image.double() * 127.5 + 127.5
    assert levels.min() >= 0
    assert levels.max() <= 255
    assert (levels - levels.round()).abs().max() < 1e-4
    assert image.std() > 0.05


def test_neighbours_are_alike_and_far_frames_are_not():
    for index in range(4):
        scene = MovingScene(index, 32, 1000)
        start = scene.frame(0)
        near, far = ((scene.frame(k) - start).square().mean() for k in (1, 60))
        assert 0 < near < far


def test_wrong_options():
    for options in ({"index": -1}, {"index": 0, "seed": -1}, {"index": 0, "size": 7}):
        with pytest.raises(ValueError, match="Expected"):
            MovingScene(**options)
