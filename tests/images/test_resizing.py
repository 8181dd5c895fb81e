"""Images brought to a size: proportions kept, centre cut out."""

import numpy as np
import pytest
import torch
from PIL import Image

from decinv.images import cover


@pytest.mark.parametrize(("size", "wanted"), [((20, 30), (10, 10)), ((30, 20), (7, 12)), ((8, 8), (16, 24)), ((9, 9), (9, 9))])
def test_against_pillow(size, wanted):
    """Pillow's bicubic filter (a = -0.5) with antialiasing is the same one, but for its 8 bits."""
    height, width = size
    ramp = np.add.outer(np.linspace(20, 200, height), np.linspace(0, 50, width))[..., None] * [1.0, 0.5, 0.8]
    picture = ramp.round().astype(np.uint8)
    image = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1
    found = cover(image, *wanted)
    scale = max(wanted[0] / height, wanted[1] / width)
    tall, wide = round(height * scale), round(width * scale)
    resized = np.asarray(Image.fromarray(picture).resize((wide, tall), Image.Resampling.BICUBIC)).astype(np.float32)
    top, left = (tall - wanted[0]) // 2, (wide - wanted[1]) // 2
    expected = resized[top : top + wanted[0], left : left + wanted[1]]
    assert found.shape == (3, *wanted)
    assert (found.permute(1, 2, 0) * 127.5 + 127.5 - torch.from_numpy(expected)).abs().max() < 2.5
    if size == wanted:
        assert torch.equal(found, image)


def test_values_stay_in_range():
    image = torch.where(torch.arange(16)[None, None] < 8, -1.0, 1.0).expand(3, 16, 16)
    assert cover(image, 31, 31).abs().max() == 1
