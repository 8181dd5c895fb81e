import pytest
import torch

from decinv.editing import blend, difference_mask, grow, to_pixels


def test_the_mask_is_where_predictions_differ():
    source = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    change = 0.01 * torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    change[:, 0, :, 2:4, 5:7] += 1.0
    change[:, 1, :, 6:, :1] += 10.0
    mask = difference_mask(source, source + change)
    assert mask.shape == (2, 1, 8, 8)
    assert mask[0, 0].nonzero().tolist() == [[2, 5], [2, 6], [3, 5], [3, 6]]
    assert mask[1, 0].nonzero().tolist() == [[6, 0], [7, 0]]
    assert torch.equal(difference_mask(source[:, 1:], (source + change)[:, 1:]), mask[1:])
    assert not difference_mask(source, source).any()


def test_ratio_and_threshold_by_hand():
    """Differences 1, 2, 3 and 6 with mean 3: half of twice the mean is 3, which only 6 exceeds."""
    source = torch.zeros(1, 1, 1, 1, 4)
    target = torch.tensor([1.0, -2.0, 3.0, -6.0]).view(1, 1, 1, 1, 4)
    assert difference_mask(source, target, ratio=2.0).flatten().tolist() == [False, False, False, True]
    assert difference_mask(source, target, ratio=1.0).flatten().tolist() == [False, True, True, True]
    assert difference_mask(source, target, ratio=2.0, threshold=0.1).flatten().tolist() == [True] * 4
    with pytest.raises(ValueError, match="`ratio`"):
        difference_mask(source, target, ratio=0.0)
    with pytest.raises(ValueError, match="one shape"):
        difference_mask(source[0], target[0])


def test_masks_grow_and_become_pixels():
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[0, 0, 0, 1] = True
    grown = grow(mask, 1)
    assert grown[0, 0].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert torch.equal(grow(mask, 0), mask)
    pixels = to_pixels(mask, (8, 8))
    assert pixels[0, 0].nonzero().tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]
    edited, source = torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    assert torch.equal(blend(edited, source, mask), mask.float().expand(1, 2, 4, 4))
    with pytest.raises(ValueError, match="`distance`"):
        grow(mask, -1)
