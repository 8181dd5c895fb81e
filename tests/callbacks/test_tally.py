import pickle

import numpy as np
import pytest

from decinv.callbacks import Chunk, Summary
from decinv.callbacks import tally as module
from decinv.callbacks.tally import Tally
from decinv.metrics.samples import QUANTILE
from decinv.rows import Row
from decinv.status import Status


def rows_of(residual, nmse, psnr, status=Status.CONVERGED):
    columns = zip(residual.tolist(), psnr.tolist(), nmse.tolist(), strict=True)
    return [Row(f"{i}", status, 5, 5, r, p, None, n, 0.5 + i, 100.0 + i) for i, (r, p, n) in enumerate(columns)]


def test_the_tally_is_what_all_rows_give():
    generator = np.random.default_rng(0)
    residual, nmse, psnr = np.exp(generator.normal(size=501)), generator.normal(-40, 5, 501), generator.normal(40, 3, 501)
    psnr[3] = np.inf
    nmse[5] = -np.inf
    tally = Tally.of(iter([*rows_of(residual, nmse, psnr), Row("x", Status.UNREADABLE), Row("y", Status.DIVERGED)]))
    assert tally.count == 503
    assert tally.statuses == {Status.CONVERGED: 501, Status.UNREADABLE: 1, Status.DIVERGED: 1}
    assert tally.median_residual == np.median(residual)
    assert tally.residual.highest == residual.max()
    for moments, values in ((tally.nmse_db, nmse), (tally.psnr_db, psnr)):
        finite = values[np.isfinite(values)]
        mean, half_width, used, left_out = moments.interval
        assert float(mean) == pytest.approx(finite.mean(), rel=1e-13)
        assert float(half_width) == pytest.approx(QUANTILE * finite.std(ddof=1) / np.sqrt(500), rel=1e-12)
        assert (used, left_out) == (500, 1)
        assert (moments.lowest, moments.highest) == (values.min(), values.max())
    assert tally.seconds.mean == pytest.approx(250.5)
    assert tally.peak_mib.highest == 600


def test_beyond_the_bound_the_median_is_that_of_a_sample(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 1000)
    residual = np.random.default_rng(0).permutation(20_000) / 20_000
    tally = Tally.of(Row(f"{i}", Status.CONVERGED, residual=value) for i, value in enumerate(residual.tolist()))
    assert tally.residual.highest == residual.max()
    assert tally.median_residual != np.median(residual)
    assert tally.median_residual == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(1000))


def test_the_memory_of_the_summary_does_not_grow(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 1000)
    summary, sizes = Summary(), []
    rows = tuple(rows_of(*np.random.default_rng(0).normal(size=(3, 8))))
    for number in range(1, 3001):
        summary.on_chunk_end(None, None, Chunk(None, None, None, rows))
        if number % 500 == 0:
            sizes.append(len(pickle.dumps(summary._tally)))
    assert summary._tally.count == 24_000
    assert max(sizes) - min(sizes) < 100
