import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from decinv.metrics import Interval, LatentNMSE, PixelPSNR, nmse_db, psnr_db
from decinv.metrics.samples import Moments


def test_nmse_of_errors_of_known_size():
    target = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    error = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    factors = torch.tensor([0.1, 0.01, 2.0])
    sizes = target.flatten(1).norm(dim=1) / error.flatten(1).norm(dim=1) * factors
    values = nmse_db(target + error * sizes[:, None, None, None], target)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, torch.tensor([-20.0, -40.0, 20 * math.log10(2)]), atol=1e-3, rtol=0)


def test_nmse_by_hand_and_in_half_precision():
    preds, target = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[1.0, 3.0]]]])
    assert nmse_db(preds, target).item() == pytest.approx(10 * math.log10(1 / 10), abs=1e-5)
    assert nmse_db(preds.half(), target.half()).item() == pytest.approx(-10, abs=1e-5)


def test_identical_and_broken_latents():
    target = torch.ones(2, 1, 2, 2)
    preds = target.clone()
    preds[1, 0, 0, 0] = torch.nan
    values = nmse_db(preds, target)
    assert values[0] == -torch.inf
    assert values[1].isnan()


def test_psnr_equals_that_of_scikit_image():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 3, 9, 7, generator=generator) * 2 - 1
    preds = (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(-1, 1)
    expected = [peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=2.0) for x, y in zip(target, preds, strict=True)]
    np.testing.assert_allclose(psnr_db(preds, target).numpy(), expected, atol=1e-4)


def test_psnr_by_hand_and_of_identical_images():
    target = torch.zeros(2, 3, 4, 4)
    preds = target.clone()
    preds[0] += 0.2
    values = psnr_db(preds, target)
    assert values[0].item() == pytest.approx(20.0, abs=1e-4)
    assert values[1] == torch.inf


@pytest.mark.parametrize("function", [nmse_db, psnr_db])
def test_shapes_must_agree_and_may_be_empty(function):
    with pytest.raises(ValueError, match=r"of one shape, but got \(1, 3, 4, 4\) and \(2, 3, 4, 4\)"):
        function(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    assert function(torch.zeros(0, 3, 4, 4), torch.zeros(0, 3, 4, 4)).shape == (0,)
    assert function(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)).shape == (1,)


@pytest.mark.parametrize(("metric", "function"), [(LatentNMSE, nmse_db), (PixelPSNR, psnr_db)])
def test_metrics_gather_the_functions_values(metric, function):
    generator = torch.Generator().manual_seed(0)
    preds, target = torch.randn(2, 7, 3, 4, 4, generator=generator)
    target[6] = preds[6]
    gathered = metric()
    for part in (slice(0, 3), slice(3, 7)):
        gathered.update(preds[part], target[part])
    values = function(preds, target)[:6].numpy()
    mean, half_width, used, left_out = gathered.compute()
    assert mean.item() == pytest.approx(values.mean(), abs=1e-5)
    assert half_width.item() == pytest.approx(1.959964 * values.std(ddof=1) / math.sqrt(6), rel=1e-4)
    assert (used, left_out) == (6, 1)


def test_interval_of_few_values():
    assert Interval.of(torch.tensor([])).mean.isnan()
    one = Interval.of(torch.tensor([3.0, torch.inf]))
    assert one.mean == 3
    assert one.half_width.isnan()
    assert one.left_out == 1


@pytest.mark.parametrize("values", [[], [3.0], [3.0, math.inf], [-math.inf, 1.0, 2.0, 4.0], [math.nan, 1.0, 1.0]])
def test_moments_of_few_values_are_those_of_the_interval(values):
    moments = Moments()
    for value in values:
        moments.add(value)
    expected = Interval.of(torch.tensor(values, dtype=torch.float64))
    torch.testing.assert_close(moments.interval, expected, equal_nan=True)
    assert len(moments) == len(values)


def test_moments_are_sound_where_sums_of_squares_are_not():
    """Of 1e8 +- 1 the variance is lost in sums of squares, whose last digit is 2."""
    moments = Moments()
    for index in range(10_000):
        moments.add(1e8 + (-1) ** index)
    mean, half_width, used, left_out = moments.interval
    assert mean.item() == pytest.approx(1e8, abs=1e-3)
    assert half_width.item() == pytest.approx(1.959964 * math.sqrt(1 / 9999), rel=1e-6)
    assert (used, left_out) == (10_000, 0)
    assert (moments.lowest, moments.highest) == (1e8 - 1, 1e8 + 1)


def test_a_metric_without_samples_says_so():
    with pytest.raises(ValueError, match="LatentNMSE has seen none"), pytest.warns(UserWarning, match="compute"):
        LatentNMSE().compute()
