"""Padding and cropping, against rows written out by hand, and the way back."""

import pytest
import torch

from decinv.images import crop_to_multiple, pad_to_multiple


def row(*values):
    return torch.tensor(values, dtype=torch.float32).expand(3, 1, -1)


def test_padding_reflects_without_repeating_the_edge():
    assert torch.equal(pad_to_multiple(row(1, 2, 3, 4, 5), 8)[:, :1], row(1, 2, 3, 4, 5, 4, 3, 2))
    column = pad_to_multiple(row(1, 2, 3, 4, 5).mT, 8)[..., :1]
    assert torch.equal(column.mT, row(1, 2, 3, 4, 5, 4, 3, 2))


def test_padding_replicates_where_there_is_too_little_to_reflect():
    assert torch.equal(pad_to_multiple(row(1, 2, 3, 4), 8)[:, :1], row(1, 2, 3, 4, 4, 4, 4, 4))
    assert torch.equal(pad_to_multiple(row(7), 4), torch.full((3, 4, 4), 7.0))


@pytest.mark.parametrize("size", [(8, 16), (9, 16), (8, 9), (5, 7), (4, 3), (1, 1), (31, 17)])
@pytest.mark.parametrize("stride", [1, 4, 8])
def test_undoing_the_padding_is_exact(size, stride):
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    padded = pad_to_multiple(image, stride)
    height, width = padded.shape[-2:]
    assert height % stride == width % stride == 0
    assert height - size[0] < stride
    assert width - size[1] < stride
    assert torch.equal(padded[..., : size[0], : size[1]], image)
    assert torch.equal(pad_to_multiple(image[0], stride), padded[0])


def test_an_empty_batch_stays_empty():
    assert pad_to_multiple(torch.empty(0, 3, 5, 8), 8).shape == (0, 3, 8, 8)


def test_cropping_keeps_the_top_left():
    image = torch.arange(3 * 11 * 9.0).reshape(3, 11, 9)
    cropped = crop_to_multiple(image, 4)
    assert torch.equal(cropped, image[:, :8, :8])
    assert cropped.untyped_storage().nbytes() == 3 * 8 * 8 * 4  # the rest is not kept alive


@pytest.mark.parametrize("size", [(3, 8), (8, 3)])
def test_too_small_to_crop(size):
    with pytest.raises(ValueError, match=rf"at least 4 pixels .* {size[0]} x {size[1]}"):
        crop_to_multiple(torch.zeros(3, *size), 4)
