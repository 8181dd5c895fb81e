import pytest
import torch
from torch import Tensor

from decinv.problems import Evaluation
from decinv.problems.base import neighbour_correlation

POINT = torch.zeros(2, 4, 3, 3)


@pytest.mark.parametrize("mismatch", [torch.zeros(2, 1), torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 5, 8, 8)])
def test_distances_in_image_space_have_any_shape_of_as_many_rows(mismatch: Tensor) -> None:
    Evaluation(POINT, torch.zeros(2), mismatch).check(POINT, "Own")


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ((POINT[:, :1], torch.zeros(2), POINT), r"`residual` of shape \(2, 4, 3, 3\), but got \(2, 1, 3, 3\)"),
        ((POINT, torch.zeros(()), POINT), r"`merit` of shape \(2,\), but got \(\)"),
        ((POINT, torch.zeros(2, 1), POINT), r"`merit` of shape \(2,\), but got \(2, 1\)"),
        ((POINT, torch.zeros(2), POINT[:1]), r"`mismatch` of shape \(2, ...\), but got \(1, 4, 3, 3\)"),
        ((POINT, torch.zeros(2), None), r"`mismatch` of shape \(2, ...\), but got NoneType"),
    ],
)
def test_parts_of_another_shape_are_named(evaluation: tuple[Tensor, Tensor, Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=f"`evaluate` of Own to give {said}"):
        Evaluation(*evaluation).check(POINT, "Own")


def test_the_correlation_of_neighbouring_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(1, 3, 256, 256, generator=generator)
    squares = torch.nn.functional.interpolate(white[..., :64, :64], scale_factor=4)  # 3 of 4 neighbours are equal
    averaged = (white + white.roll(1, -1)) / 2  # half across, none down
    turns = torch.ones(1, 3, 256, 256)
    turns[..., ::2] = -1  # -1 across, 1 down
    images = torch.cat([white, squares, averaged, turns, -turns.cumsum(-1), torch.ones_like(white), torch.zeros_like(white)])
    expected = torch.tensor([0.0, 0.75, 0.25, 0.0, 0.5, 1.0, 0.0])
    torch.testing.assert_close(neighbour_correlation(images), expected, rtol=0, atol=0.01)
    torch.testing.assert_close(neighbour_correlation(1e-3 * images), neighbour_correlation(images))


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (2, 3, 4, 1), (2, 3, 5, 4, 4), (0, 3, 4, 4)])
def test_pixels_without_neighbours_correlate_with_none(shape: tuple[int, ...]) -> None:
    found = neighbour_correlation(torch.ones(shape))
    assert found.shape == shape[:1]
    assert bool((found > 0).all()) == (shape[-2] > 1)
