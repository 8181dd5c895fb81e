import math

import pytest
import torch

from decinv.editing import centroid, slerp


def noise(count, seed=0):
    return torch.randn(count, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_the_way_on_a_circle():
    first, second = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 4.0]])
    third = slerp(first, second, 1 / 3)
    angle = math.pi / 6
    expected = torch.tensor([[math.cos(angle), math.sin(angle)]]) * torch.tensor([[1.0], [2 + 2 / 3]])
    torch.testing.assert_close(third, expected)


def test_ends_and_norms_are_those_of_noise():
    first, second = noise(3), noise(3, 1)
    torch.testing.assert_close(slerp(first, second, 0.0), first)
    torch.testing.assert_close(slerp(first, second, 1.0), second)
    middle = slerp(first, second, 0.5)
    assert float(middle.std()) == pytest.approx(1, abs=0.03)
    assert float(((first + second) / 2).std()) == pytest.approx(0.707, abs=0.03)
    torch.testing.assert_close(slerp(first, first, 0.3), first)
    assert slerp(first.half(), second.half(), 0.5).dtype == torch.float16
    with pytest.raises(ValueError, match="one shape"):
        slerp(first, second[:1], 0.5)


def test_the_centroid_is_as_near_to_all_and_a_typical_noise():
    noises = noise(5)
    centre = centroid(noises)
    assert centre.shape == noises.shape[1:]
    assert float(centre.std()) == pytest.approx(1, abs=0.03)
    cosines = torch.nn.functional.cosine_similarity(noises.flatten(1), centre.flatten()[None])
    assert cosines.tolist() == pytest.approx([1 / math.sqrt(5)] * 5, abs=0.1)
    torch.testing.assert_close(centroid(noises, torch.tensor([0.0, 0, 2, 0, 0])), noises[2])
    torch.testing.assert_close(centroid(noises[:2]), slerp(noises[:1], noises[1:2], 0.5)[0], atol=0.02, rtol=0.02)


def test_where_there_is_no_way_and_no_centre_there_is_nan():
    one, nothing = noise(1), torch.zeros(1, 4, 16, 16)
    assert slerp(one, -one, 0.3).isnan().all()
    assert slerp(one, nothing, 0.3).isnan().all()
    assert slerp(one, -one + 1e-3 * noise(1, 1), 0.3).isfinite().all()
    assert centroid(torch.cat([one, nothing])).isnan().all()
    assert centroid(torch.cat([one, -one])).isnan().all()


@pytest.mark.parametrize(
    "weights",
    [
        torch.zeros(5),
        torch.tensor([1.0, 1, 1, 1, -1]),
        torch.tensor([1.0, 1, 1, 1, torch.nan]),
        torch.tensor([1.0, 1, 1, 1, torch.inf]),
        torch.ones(4),
    ],
)
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match="for each of 5 noises"):
        centroid(noise(5), weights)
    with pytest.raises(ValueError, match="at least one"):
        centroid(noise(5)[:0])
