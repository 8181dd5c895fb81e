import math
from dataclasses import replace

import pytest
import torch

from decinv.batch import Batch, Failure
from decinv.codecs.scaling import Scaling
from decinv.metrics import nmse_db, psnr_db
from decinv.result import Result
from decinv.rows import NEVER_FINITE, Row, make_rows
from decinv.status import Status


def a_result(latent, status):
    count = len(latent)
    return Result(
        latent=latent,
        residual=torch.tensor([1e-6, torch.nan])[:count],
        history=torch.ones(3, count),
        iterations=torch.tensor([3, 1])[:count],
        evaluations=torch.tensor([4, 1])[:count],
        seconds=torch.tensor([0.5, 0.25])[:count],
        status=status[:count],
    )


def test_rows_of_samples_and_failures():
    image = torch.zeros(2, 3, 8, 8)
    reconstruction = image + 0.2
    reconstruction[0, :, 4:] = 1.0  # in the padding
    truth = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    latent = truth + 0.1
    latent[1] = torch.nan
    batch = Batch(image, ("a", "b"), truth, ((4, 8), (8, 8)), (Failure("c", "It is no image."),))
    scaling = Scaling(0.5, 2.0)
    first, second, third = make_rows(
        batch, a_result(latent, (Status.CONVERGED, Status.DIVERGED)), reconstruction, scaling, peak_mib=7.0
    )
    assert first[:4] == ("a", Status.CONVERGED, 3, 4)
    assert first.residual == pytest.approx(1e-6)
    assert first.psnr_db == pytest.approx(20.0, abs=1e-4)
    assert first.nmse_db == pytest.approx(nmse_db((latent - 2) * 0.5, (truth - 2) * 0.5)[0].item(), abs=1e-5)
    assert first.nmse_db != pytest.approx(nmse_db(latent, truth)[0].item(), abs=1e-1)
    assert (first.seconds, first.peak_mib, first.reason) == (0.5, 7.0, "")
    assert (second.residual, second.nmse_db) == (None, None)
    assert second.reason == NEVER_FINITE
    assert second.psnr_db == pytest.approx(psnr_db(reconstruction, image)[1].item())
    assert third == Row("c", Status.UNREADABLE, reason="It is no image.")


def test_the_round_trip_is_measured_where_black_is_0():
    """The published 0T0 is of images in [0, 1]: of an error of 0.1 it is 0.1^2 on white, and (0.1 / 0.5)^2 on middle grey."""
    image = torch.ones(2, 3, 8, 8)
    image[1] = 0.0
    latent = torch.ones(2, 4, 2, 2)
    result = replace(a_result(latent, (Status.CONVERGED,) * 2), noise=latent)
    rows = make_rows(Batch(image, ("white", "grey")), result, image - 0.2, Scaling())
    assert [row.round_trip_nmse_db for row in rows] == pytest.approx([-20.0, -10 * math.log10(25)], abs=1e-4)
    exact = make_rows(Batch(image, ("white", "grey")), result, image, Scaling())
    assert [row.round_trip_nmse_db for row in exact] == [-math.inf] * 2


def test_rows_where_nothing_is_known():
    batch = Batch(torch.zeros(0, 3, 8, 8), (), failures=(Failure("x", "Gone."),))
    rows = make_rows(batch, a_result(torch.zeros(0, 4, 2, 2), ()), torch.zeros(0, 3, 8, 8), Scaling())
    assert rows == (Row("x", Status.UNREADABLE, reason="Gone."),)
    batch = Batch(torch.zeros(1, 3, 8, 8), ("a",))
    (row,) = make_rows(batch, a_result(torch.zeros(1, 4, 2, 2), (Status.STALLED,)), torch.zeros(1, 3, 8, 8), Scaling())
    assert (row.nmse_db, row.peak_mib, row.reason) == (None, None, "")
    assert row.psnr_db == float("inf")
