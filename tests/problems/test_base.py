import pytest
import torch
from torch import Tensor

from decinv.problems import Evaluation

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
