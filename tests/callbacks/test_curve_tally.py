import pickle

import numpy as np
import pytest
import torch

from decinv.callbacks import curve_tally as module
from decinv.callbacks.curve_tally import CurveTally
from decinv.callbacks.curves import Curves

NAN, INF = torch.nan, torch.inf


def random_curves(length, count, seed, known=True):
    """Curves of samples that end at random iterations, the first of them without a finite residual."""
    generator = torch.Generator().manual_seed(seed)
    residual = torch.rand(length, count, generator=generator)
    iterations = torch.randint(1, length + 1, (count,), generator=generator)
    iterations[-1] = length
    ended = torch.arange(length)[:, None] >= iterations
    residual[ended] = NAN
    residual[:, 0] = NAN
    quality = torch.randn(2, length, count, generator=generator) * 5 + 30
    quality[:, :, 1] = INF
    quality[:, ended] = NAN
    return Curves.of(residual, iterations, -quality[0] if known else None, quality[1])


def add_all(parts):
    tally = CurveTally()
    for part in parts:
        tally.add(part)
    return tally


def direct(parts):
    """Summarise tables of all samples with NumPy."""
    longest = max(len(part.residual) for part in parts)

    def table(name):
        tables = [getattr(part, name).numpy() for part in parts]
        return np.concatenate([np.pad(one, ((0, longest - len(one)), (0, 0)), mode="edge") for one in tables], axis=1)

    def finite(name):
        values = table(name).astype(float)
        return np.where(np.isfinite(values), values, np.nan)

    residual = np.sort(table("residual"), axis=1)
    count = residual.shape[1]
    active = [np.pad(part.active.numpy(), ((0, longest - len(part.active)), (0, 0))).sum(1) for part in parts]
    return {
        "residual/lower_quartile": residual[:, round(0.25 * (count - 1))],
        "residual/median": residual[:, round(0.5 * (count - 1))],
        "residual/upper_quartile": residual[:, round(0.75 * (count - 1))],
        "residual/worst": np.nanmax(finite("residual"), axis=1),
        "active_samples": np.sum(active, axis=0),
        "psnr_db/mean": np.nanmean(finite("psnr_db"), axis=1),
        "nmse_db/mean": np.nanmean(finite("nmse_db"), axis=1),
        "nmse_db/worst": np.nanmax(finite("nmse_db"), axis=1),
    }


def test_the_best_points_of_a_chunk():
    residual = torch.tensor([[1.0, 1.0, NAN], [0.5, 2.0, NAN], [0.7, NAN, NAN]])
    nmse = torch.tensor([[-1.0, -2.0, NAN], [-3.0, 5.0, NAN], [-9.0, NAN, NAN]])
    summary = add_all([Curves.of(residual, torch.tensor([3, 2, 1]), nmse, -nmse)]).summary()
    np.testing.assert_array_equal(summary["residual/median"], [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(summary["residual/lower_quartile"], [1.0, 0.5, 0.5])
    np.testing.assert_array_equal(summary["residual/worst"], [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(summary["active_samples"], [3, 2, 1])
    np.testing.assert_array_equal(summary["nmse_db/mean"], [-1.5, -2.5, -2.5])
    np.testing.assert_array_equal(summary["nmse_db/worst"], [-1.0, -2.0, -2.0])
    np.testing.assert_array_equal(summary["psnr_db/mean"], [1.5, 2.5, 2.5])


def test_a_sample_that_is_done_keeps_its_last_value():
    short = Curves.of(torch.tensor([[0.1]]), torch.tensor([1]), None, torch.tensor([[30.0]]))
    long = Curves.of(torch.tensor([[1.0], [0.5]]), torch.tensor([2]), None, torch.tensor([[10.0], [20.0]]))
    for parts in ([short, long], [long, short]):
        summary = add_all(parts).summary()
        assert "nmse_db/mean" not in summary
        np.testing.assert_allclose(summary["residual/lower_quartile"], [0.1, 0.1])
        np.testing.assert_allclose(summary["residual/worst"], [1.0, 0.5])
        np.testing.assert_array_equal(summary["active_samples"], [2, 1])
        np.testing.assert_allclose(summary["psnr_db/mean"], [20, 25])


def test_chunks_of_different_lengths_are_summarised_as_all_samples_at_once():
    parts = [random_curves(length, 8, seed) for seed, length in enumerate([3, 9, 1, 12, 5, 12])]
    tally = add_all(parts)
    summary = tally.summary()
    assert tally.count == 48
    expected = direct(parts)
    assert set(summary) == set(expected)
    for name, curve in expected.items():
        if name.endswith("mean"):
            np.testing.assert_allclose(summary[name], curve, rtol=1e-12)
        else:
            np.testing.assert_array_equal(summary[name], curve)


def test_the_nmse_is_that_of_the_samples_whose_truth_is_known():
    parts = [random_curves(4, 8, 0), random_curves(6, 8, 1, known=False)]
    known = direct(parts[:1])
    summary = add_all(parts).summary()
    for name in ("nmse_db/mean", "nmse_db/worst"):
        np.testing.assert_allclose(summary[name], np.pad(known[name], (0, 2), mode="edge"), rtol=1e-12)


def test_what_was_never_finite_is_nan():
    summary = add_all([Curves.of(torch.full((2, 3), NAN), torch.ones(3), None, torch.full((2, 3), INF))]).summary()
    assert all(np.isnan(curve).all() for name, curve in summary.items() if name != "active_samples")


def test_beyond_the_bound_only_the_quartiles_are_estimates(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 400)
    parts = [random_curves(5, 8, seed) for seed in range(500)]
    summary, expected = add_all(parts).summary(), direct(parts)
    for name in ("residual/worst", "active_samples", "nmse_db/worst"):
        np.testing.assert_array_equal(summary[name], expected[name])
    for name in ("psnr_db/mean", "nmse_db/mean"):
        np.testing.assert_allclose(summary[name], expected[name], rtol=1e-12)
    everything = np.sort(np.concatenate([part.residual[0].numpy() for part in parts]))
    for name, quantile in (("lower_quartile", 0.25), ("median", 0.5), ("upper_quartile", 0.75)):
        rank = np.searchsorted(everything, summary[f"residual/{name}"][0]) / len(everything)
        assert rank == pytest.approx(quantile, abs=4 * np.sqrt(quantile * (1 - quantile) / 400))


def test_the_memory_does_not_grow(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 400)
    tally, sizes = CurveTally(), []
    parts = [random_curves(5, 8, seed) for seed in range(50)]
    for _ in range(5):
        for part in parts:
            tally.add(part)
        sizes.append(len(pickle.dumps(tally)))
    assert tally.count == 2000
    assert max(sizes) - min(sizes) < 100
    assert all(curve.untyped_storage().nbytes() == curve.nbytes for curve in tally._kept.items)  # none holds its chunk's table


def test_a_tally_without_a_sample_says_so():
    with pytest.raises(ValueError, match="Expected at least one sample to summarise, but got none; call `add` first"):
        CurveTally().summary()
