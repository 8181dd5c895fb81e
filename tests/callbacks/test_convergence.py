import math

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from decinv.batch import Batch, Failure
from decinv.callbacks import Convergence
from decinv.callbacks.curves import Curves
from decinv.metrics import nmse_db, psnr_db

NAN, INF = math.nan, math.inf


def events(tmp_path):
    accumulator = EventAccumulator(str(tmp_path / "log"), {"images": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def scalars(tmp_path, tag):
    return {event.step: event.value for event in events(tmp_path).Scalars(tag)}


def test_curves_keep_the_best_point():
    residual = torch.tensor([[1.0, 1.0, NAN], [0.5, 2.0, NAN], [0.7, NAN, NAN]])
    nmse = torch.tensor([[-1.0, -2.0, NAN], [-3.0, 5.0, NAN], [-9.0, NAN, NAN]])
    curves = Curves.of(residual, torch.tensor([3, 2, 1]), nmse, -nmse)
    assert curves.residual.tolist() == [[1.0, 1.0, INF], [0.5, 1.0, INF], [0.5, 1.0, INF]]
    assert curves.active.tolist() == [[True, True, True], [True, True, False], [True, False, False]]
    assert curves.nmse_db[:, :2].tolist() == [[-1.0, -2.0], [-3.0, -2.0], [-3.0, -2.0]]
    summary = curves.summary()
    np.testing.assert_array_equal(summary["residual/median"], [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(summary["residual/lower_quartile"], [1.0, 0.5, 0.5])
    np.testing.assert_array_equal(summary["residual/worst"], [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(summary["active_samples"], [3, 2, 1])
    np.testing.assert_array_equal(summary["nmse_db/mean"], [-1.5, -2.5, -2.5])
    np.testing.assert_array_equal(summary["nmse_db/worst"], [-1.0, -2.0, -2.0])


def test_curves_of_chunks_of_different_length():
    short = Curves.of(torch.tensor([[0.1]]), torch.tensor([1]), None, torch.tensor([[30.0]]))
    long = Curves.of(torch.tensor([[1.0], [0.5]]), torch.tensor([2]), None, torch.tensor([[10.0], [20.0]]))
    joined = Curves.join([short, long])
    assert joined.residual.tolist() == [[pytest.approx(0.1), 1.0], [pytest.approx(0.1), 0.5]]
    assert joined.active.tolist() == [[True, True], [False, True]]
    assert joined.nmse_db.shape == (2, 0)
    summary = joined.summary()
    assert "nmse_db/mean" not in summary
    np.testing.assert_allclose(summary["psnr_db/mean"], [20, 25])


def test_logged_curves_follow_the_forward_step(fit, make_batch, codec, tmp_path):
    """With rate 1 the error is (I - A)^k e_0, e_0 = (A - I) z*, which the NMSE must show; two chunks, one after the other."""
    batches = [make_batch(["a", "b"]), make_batch(["c"], seed=1)]
    logger = TensorBoardLogger(tmp_path, name="", version="log")
    module, _, _ = fit([Convergence()], batches, max_iters=4, logger=logger)
    scale = codec.scaling.apply
    expected = []
    for batch in batches:
        point, values = codec.encode(batch.image), []
        for _ in range(4):
            values.append(nmse_db(scale(point), scale(batch.latent)))
            point = point - (codec.encode(codec.decode(point)) - codec.encode(batch.image))
        expected.append(torch.stack(values))
    assert scalars(tmp_path, "chunks/nmse_db/mean") == pytest.approx(
        dict(enumerate(torch.cat([values.mean(1) for values in expected]).tolist(), 1)), abs=1e-3
    )
    both = torch.cat(expected, dim=1)
    assert scalars(tmp_path, "run/nmse_db/mean") == pytest.approx(dict(enumerate(both.mean(1).tolist(), 1)), abs=1e-3)
    assert scalars(tmp_path, "run/nmse_db/worst") == pytest.approx(dict(enumerate(both.amax(1).tolist(), 1)), abs=1e-3)
    assert scalars(tmp_path, "run/active_samples") == {1: 3, 2: 3, 3: 3, 4: 3}
    history = module.result.history[:, 0].tolist()
    assert scalars(tmp_path, "chunks/residual/median") == pytest.approx(
        scalars(tmp_path, "chunks/residual/median") | dict(enumerate(history, 5))
    )
    starts = torch.cat([psnr_db(codec.decode(codec.encode(b.image)), b.image) for b in batches])
    assert scalars(tmp_path, "run/psnr_db/mean")[1] == pytest.approx(starts.mean().item(), abs=1e-3)
    assert events(tmp_path).Tags()["images"] == ["convergence"]
    with Image.open(tmp_path / "run" / "convergence.png") as picture:
        assert min(picture.size) > 400


def test_long_chunks_are_thinned_and_end_with_their_last_iteration(fit, make_batch, tmp_path):
    logger = TensorBoardLogger(tmp_path, name="", version="log")
    fit([Convergence(figure=False)], [make_batch(["a"])], max_iters=100, lr=1e-3, logger=logger)
    steps = list(scalars(tmp_path, "chunks/residual/worst"))
    assert len(steps) == 32
    assert steps[-1] == 100
    assert list(scalars(tmp_path, "run/residual/worst")) == list(range(1, 101))
    assert not (tmp_path / "run" / "convergence.png").exists()


def test_samples_end_on_their_own(fit, make_batch, codec, tmp_path):
    batch = make_batch(["eigenvector of 1", "other"], known=False)
    values, vectors = torch.linalg.eigh(codec.matrix)
    latent = torch.einsum("c,hw->chw", vectors[:, values.argmax()], torch.ones(4, 4) * 0.1)
    batch.image[0] = codec.decode(latent[None])[0]
    logger = TensorBoardLogger(tmp_path, name="", version="log")
    module, _, _ = fit([Convergence()], [batch], rtol=1e-5, logger=logger)
    assert module.result.iterations.tolist() == [1, 6]
    assert list(scalars(tmp_path, "run/active_samples").values()) == [2, 1, 1, 1, 1, 1]
    assert "run/nmse_db/mean" not in events(tmp_path).Tags()["scalars"]


@pytest.mark.parametrize("kind", ["none", "csv"])
def test_any_logger_will_do(fit, make_batch, tmp_path, kind):
    logger = CSVLogger(tmp_path, name="", version="log") if kind == "csv" else False
    empty = Batch(torch.zeros(0, 3, 16, 16), (), failures=(Failure("x", "Gone."),))
    fit([Convergence()], [make_batch(["a"]), empty], logger=logger)
    assert (tmp_path / "run" / "convergence.png").exists()
    assert (tmp_path / "log" / "metrics.csv").exists() == (kind == "csv")


def test_a_run_without_a_sample_has_no_figure(fit, tmp_path):
    empty = Batch(torch.zeros(0, 3, 16, 16), (), failures=(Failure("x", "Gone."),))
    fit([Convergence()], [empty])
    assert not (tmp_path / "run" / "convergence.png").exists()
