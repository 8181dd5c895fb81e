import pytest
import torch
from scipy.stats import norm
from torchmetrics.functional.classification import binary_sensitivity_at_specificity

from decinv.metrics import DetectionRates, auc, detect, tpr_at_fpr
from decinv.metrics.detection import ranks, wilson


def scores(marked, unmarked, shift, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(marked, generator=generator) + shift, torch.randn(unmarked, generator=generator)


def test_rates_by_hand():
    marked, unmarked = torch.tensor([5.0, 4.0, 1.5, 0.0]), torch.tensor([3.0, 2.0, 1.0, 0.0])
    assert auc(marked, unmarked).value == pytest.approx((4 + 4 + 2 + 0.5) / 16)
    assert tpr_at_fpr(marked, unmarked, 0.25).value == 0.5  # above the second highest, 2
    assert tpr_at_fpr(marked, unmarked, 0.5).value == 0.75
    assert tpr_at_fpr(marked, unmarked, 0.01).value == 0.5
    assert tpr_at_fpr(-marked, -unmarked, 0.25).value == 0.25


def test_rates_of_normal_scores_are_those_of_theory():
    found = detect(*scores(100_000, 100_000, 2.0))
    assert (found.marked, found.unmarked) == (100_000, 100_000)
    assert found.auc.value == pytest.approx(norm.cdf(2 / 2**0.5), abs=0.003)
    for rate, fpr in zip(found.tpr, (0.01, 0.001), strict=True):
        assert rate.value == pytest.approx(norm.sf(norm.isf(fpr) - 2), abs=0.02)
        assert rate.low < rate.value < rate.high


@pytest.mark.parametrize("scale", [1, 100])
def test_rates_are_those_of_torchmetrics_and_do_not_depend_on_scale(scale):
    """Of scores far outside [0, 1], which torchmetrics alone would squash until they are equal."""
    marked, unmarked = (one.double() for one in scores(200, 300, 1.0))
    expected, _ = binary_sensitivity_at_specificity(*ranks(marked, unmarked), min_specificity=0.99)
    assert tpr_at_fpr(scale * marked - 50, scale * unmarked - 50, 0.01).value == pytest.approx(float(expected))
    assert auc(scale * marked - 50, scale * unmarked - 50) == auc(marked, unmarked)


@pytest.mark.parametrize(("marked", "unmarked", "shift"), [(60, 60, 1.0), (100, 500, 2.5), (300, 300, 3.0)])
def test_intervals_hold_what_they_promise(marked, unmarked, shift):
    truth = norm.cdf(shift / 2**0.5), norm.sf(norm.isf(0.05) - shift)
    held = torch.zeros(2)
    for seed in range(200):
        drawn = scores(marked, unmarked, shift, seed)
        rates = auc(*drawn), tpr_at_fpr(*drawn, 0.05)
        held += torch.tensor([rate.low <= true <= rate.high for rate, true in zip(rates, truth, strict=True)])
    assert float(held.min()) / 200 >= 0.93


def test_perfect_scores_are_not_called_certain():
    found = detect(torch.ones(400), torch.zeros(400))
    assert found.auc == found.tpr[0]
    assert found.auc.value == found.auc.high == 1.0
    assert found.auc.low == pytest.approx(0.9905, abs=1e-4)
    assert found.tpr[1] == (1.0, 0.0, 1.0)  # of 1000 unmarked scores and more, one may lie above all marked ones
    assert wilson(0.0, 10).low == 0.0
    assert wilson(0.5, 100)[1:] == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_the_metric_gathers_the_functions_scores():
    marked, unmarked = scores(30, 50, 1.0)
    metric = DetectionRates(fprs=(0.1,))
    metric.update(marked[:10], torch.ones(10))
    metric.update(torch.cat([unmarked, marked[10:]]), torch.arange(70) >= 50)
    assert metric.compute() == detect(marked, unmarked, (0.1,))


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="0 marked and 2 unmarked"):
        auc(torch.zeros(0), torch.zeros(2))
    with pytest.raises(ValueError, match="1 of 3 are nan"):
        tpr_at_fpr(torch.tensor([torch.nan]), torch.zeros(2), 0.1)
    with pytest.raises(ValueError, match="`fpr`"):
        tpr_at_fpr(torch.zeros(1), torch.zeros(2), 0.0)
    with pytest.raises(ValueError, match="has seen none"), pytest.warns(UserWarning, match="compute"):
        DetectionRates().compute()


@pytest.mark.parametrize("count", [100, 200, 1000])
def test_the_interval_of_the_rate_holds_at_its_lower_end(count):
    """Of normal scores whose true rate at 1 % is known, at most 2.5 % of the lower ends are above it, but for chance."""
    generator = torch.Generator().manual_seed(0)
    true = float(norm.sf(norm.isf(0.01) - 2.0))
    draws = ([torch.randn(n, generator=generator, dtype=torch.float64) for n in (500, count)] for _ in range(400))
    rates = [tpr_at_fpr(marked + 2.0, unmarked, 0.01) for marked, unmarked in draws]
    assert sum(rate.low > true for rate in rates) / 400 <= 0.045
    assert sum(rate.high < true for rate in rates) / 400 <= 0.045


def test_one_unmarked_image_says_next_to_nothing():
    marked, unmarked = torch.tensor([1.0, 2.0]), torch.tensor([0.0])
    assert tpr_at_fpr(marked, unmarked, 0.01)[1:] == (0.0, 1.0)
    assert tpr_at_fpr(marked, unmarked, 0.99).high == 1.0
