import math
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from decinv.batch import Batch, Failure
from decinv.callbacks import Chunk, Convergence, curve_tally, thinning
from decinv.callbacks.convergence import draw
from decinv.callbacks.curves import Curves
from decinv.metrics import nmse_db, psnr_db
from decinv.modules import DecoderInversion
from decinv.result import Result
from decinv.solver import Observation
from decinv.updates import ForwardStep

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


def test_curves_keep_the_point_that_is_reported_rather_than_the_smallest_residual():
    residual = torch.tensor([[1.0, 1.0], [0.5, 0.6], [0.7, 0.8], [0.6, NAN]])
    nmse = torch.tensor([[-1.0, -2.0], [4.0, -3.0], [-9.0, -4.0], [-5.0, NAN]])
    better = torch.tensor([[1.0, 1.0], [0.0, NAN], [1.0, NAN], [0.0, NAN]])  # the second sample's were not seen
    curves = Curves.of(residual, torch.tensor([4, 3]), nmse, -nmse, better)
    assert curves.nmse_db.tolist() == [[-1.0, -2.0], [-1.0, -3.0], [-9.0, -3.0], [-9.0, -3.0]]
    torch.testing.assert_close(curves.residual, torch.tensor([[1.0, 1.0], [1.0, 0.6], [0.7, 0.6], [0.7, 0.6]]))
    torch.testing.assert_close(curves.psnr_db, -curves.nmse_db)


def test_the_last_values_are_those_of_the_results(fit, make_batch, codec, tmp_path):
    """A sample keeps its start until the pixel error fell to a quarter, though its residual falls before."""
    batch = make_batch(["a", "b"])
    batch.image[1] = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1  # which D cannot make
    logger = TensorBoardLogger(tmp_path, name="", version="log")
    module = DecoderInversion(codec, lambda params: Steep(params, lr=1.0), max_iters=3, rtol=0.0)
    fit([Convergence()], [batch], module=module, logger=logger)
    result = module.result
    assert result.residual[1] > 2 * result.history[:, 1].min()
    assert scalars(tmp_path, "run/residual/worst")[3] == pytest.approx(result.residual.max().item())
    errors = nmse_db(codec.scaling.apply(result.latent), codec.scaling.apply(batch.latent))
    assert scalars(tmp_path, "run/nmse_db/mean")[3] == pytest.approx(errors.mean().item(), abs=1e-3)


class Steep(ForwardStep):
    """A forward step that asks for a quarter of the pixel error before another point than the start is reported."""

    def proof(self, first):
        return torch.full_like(first.merit, 0.25).expand(2, -1)


def test_curves_of_problems_that_follow_each_other():
    """Two samples: a decoder in two iterations, of which the second sample needs one, and then two steps of a sampler."""
    residual = torch.tensor([[0.2, 0.1], [0.3, NAN], [0.9, 0.8], [0.5, 0.9], [0.7, 0.6]])
    psnr = torch.tensor([[20.0, 30.0], [10.0, NAN], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    curves = Curves.of(residual, torch.tensor([5, 4]), None, psnr, None, (2, 2, 1), 2)
    expected = torch.tensor([[0.2, 0.1], [0.2, 0.1], [0.9, 0.8], [0.5, 0.8], [0.7, 0.6]])
    assert torch.equal(curves.residual, expected)
    assert curves.active.tolist() == [[True, True], [True, False], [True, True], [True, True], [True, True]]
    assert curves.psnr_db.tolist() == [[20.0, 30.0]] * 5
    unseen = Curves.of(residual, torch.tensor([5, 4]), None, psnr, None, (2, 2, 1), 0)
    assert unseen.psnr_db.isnan().all()


@pytest.mark.parametrize("decoded", [True, False])
def test_the_psnr_is_that_of_images_only(codec, decoded):
    steps, chunk = finished([[0.9], [0.5], [0.8], [0.6]], codec.scaling)
    bench = Bench(codec)
    bench.module.starts_at_encoder = decoded
    summary = bench.play(steps, replace(chunk, result=replace(chunk.result, problems=(2, 1, 1)))).summary()
    expected = decibels(2 / 0.9, *[2 / 0.5] * 3) if decoded else [NAN] * 4
    np.testing.assert_allclose(summary["psnr_db/mean"], expected, atol=1e-4)
    np.testing.assert_allclose(summary["residual/median"], [0.9, 0.5, 0.8, 0.6])


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


def test_a_figure_of_problems_that_follow_each_other_says_so():
    tally = curve_tally.CurveTally()
    tally.add(Curves.of(torch.rand(3, 2), torch.tensor([3, 3]), None, torch.zeros(3, 2), None, (2, 1)))
    titles = [draw(tally.summary(), 2, stages).axes[0].get_title() for stages in (False, True)]
    assert titles == ["Convergence of 2 samples", "Convergence of 2 samples: one problem after another"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("residual", [0.0, NAN])
def test_a_figure_without_a_residual_above_0_is_drawn_without_a_warning(residual):
    summary = {f"residual/{name}": np.array([residual]) for name in ("lower_quartile", "upper_quartile", "median", "worst")}
    figure = draw(summary | {"active_samples": np.array([1.0])}, 1)
    figure.canvas.draw()
    assert figure.axes[0].get_yscale() == "linear"


def test_a_run_without_a_sample_has_no_figure(fit, tmp_path):
    empty = Batch(torch.zeros(0, 3, 16, 16), (), failures=(Failure("x", "Gone."),))
    fit([Convergence()], [empty])
    assert not (tmp_path / "run" / "convergence.png").exists()


def finished(history, scaling):
    """The steps of a chunk of these residuals ``(K, N)``, and the chunk; its NMSE is 20 lg r, its PSNR 20 lg (2 / r)."""
    history = torch.tensor(history)
    count = history.shape[1]
    iterations = (~history.isnan()).sum(0)
    latent = torch.randn(count, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    truth = scaling.apply(latent)
    steps = []
    lowest = history.nan_to_num(nan=INF).cummin(0).values
    for residual, least in zip(history, lowest, strict=True):
        rows = (~residual.isnan()).nonzero()[:, 0]
        merit = residual[rows]
        steps.append(Observation(rows, truth[rows] * (1 + merit[:, None, None, None]), merit, merit**2, merit <= least[rows]))
    batch = Batch(torch.zeros(count, 3, 8, 8), tuple(map(str, range(count))), latent)
    return steps, Chunk(batch, Result(latent, history[0], history, iterations, iterations, history[0], ()), batch.image, ())


class Bench:
    """A callback whose hooks are called as a trainer calls them, chunk by chunk."""

    def __init__(self, codec, loggers=()):
        self.callback = Convergence()
        self.trainer = SimpleNamespace(loggers=loggers, current_epoch=0)
        self.module = DecoderInversion(codec, lambda params: ForwardStep(params, lr=1.0))
        self.callback.on_train_start(self.trainer, self.module)

    def play(self, steps, chunk, first=0, ends=True):
        self.module.batch = chunk.batch
        self.callback.on_train_epoch_start(self.trainer, self.module)
        for index in range(first, len(steps)):
            self.module.solver.last, self.module.solver.iteration = steps[index], index + 1
            self.callback.on_train_batch_end(self.trainer, self.module, None, chunk.batch, index)
        if ends:
            self.callback.on_chunk_end(self.trainer, self.module, chunk)
        self.trainer.current_epoch += 1
        return self.callback._tally


def decibels(*residuals):
    return [20 * math.log10(residual) for residual in residuals]


def test_a_chunk_that_was_resumed_lacks_the_quality_of_what_nobody_saw(codec):
    steps, chunk = finished([[0.9, 0.8], [0.5, NAN], [0.6, NAN], [0.4, NAN]], codec.scaling)
    whole = Bench(codec).play(steps, chunk).summary()
    resumed = Bench(codec).play(steps, chunk, first=2).summary()
    at_its_end = Bench(codec).play(steps, chunk, first=4).summary()
    for name in ("residual/median", "residual/lower_quartile", "residual/upper_quartile", "residual/worst", "active_samples"):
        np.testing.assert_array_equal(whole[name], resumed[name])
        np.testing.assert_array_equal(whole[name], at_its_end[name])
    np.testing.assert_allclose(whole["nmse_db/worst"], decibels(0.9, 0.8, 0.8, 0.8), atol=1e-4)
    np.testing.assert_allclose(whole["psnr_db/mean"][3], -sum(decibels(0.2, 0.4)) / 2, atol=1e-4)
    # The third iteration was seen, but the best point so far is the second's.
    np.testing.assert_allclose(resumed["nmse_db/mean"], [NAN, NAN, NAN, *decibels(0.4)], atol=1e-4)
    np.testing.assert_allclose(resumed["psnr_db/mean"], [NAN, NAN, NAN, *decibels(5)], atol=1e-4)
    assert np.isnan(at_its_end["psnr_db/mean"]).all()


def test_the_truth_of_one_chunk_is_not_that_of_the_next(codec):
    bench = Bench(codec)
    bench.play(*finished([[0.9, 0.8, 0.7]], codec.scaling))
    tally = bench.play(*finished([[0.5, 0.3], [0.4, 0.2]], codec.scaling), first=2)
    assert tally.count == 5
    np.testing.assert_allclose(tally.summary()["nmse_db/mean"], [sum(decibels(0.9, 0.8, 0.7)) / 3] * 2, atol=1e-4)


def test_an_abandoned_chunk_leaves_nothing_behind(codec):
    abandoned = finished([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6], [0.7, 0.6, 0.5]], codec.scaling)
    last = finished([[0.5, 0.3], [0.4, 0.2]], codec.scaling)
    bench = Bench(codec)
    assert bench.play(*abandoned, ends=False).count == 0
    assert bench.play(*finished([[]], codec.scaling)).count == 0
    assert bench.play(*abandoned, ends=False).count == 0
    tally = bench.play(*last)
    expected = Bench(codec).play(*last).summary()
    assert tally.count == 2
    for name, curve in tally.summary().items():
        np.testing.assert_array_equal(curve, expected[name])


def test_a_second_run_begins_afresh(codec):
    bench, chunk = Bench(codec), finished([[0.5, 0.3], [0.4, 0.2]], codec.scaling)
    bench.play(*chunk)
    bench.callback.on_train_start(bench.trainer, bench.module)
    assert bench.play(*chunk).count == 2


def test_neither_memory_nor_logs_grow_with_the_number_of_chunks(codec, monkeypatch):
    monkeypatch.setattr(curve_tally, "KEPT", 480)
    monkeypatch.setattr(thinning, "LOGGED", 200)
    logged = []
    logger = SimpleNamespace(log_metrics=lambda scalars, step: logged.append(step))
    bench, sizes = Bench(codec, loggers=[logger]), []
    chunk = finished([[0.5, 0.3, 0.9, 0.8], [0.4, NAN, 1.0, 0.7]], codec.scaling)
    for number in range(1, 601):
        tally = bench.play(*chunk)
        if number % 100 == 0:
            sizes.append(len(pickle.dumps(vars(bench.callback))))
    assert tally.count == 2_400
    assert sizes[0] < 0.9 * sizes[1]  # all samples are kept up to the bound
    assert max(sizes[1:]) - min(sizes[1:]) < 100
    assert len(logged) == 2 * (200 + 100 + 50)
    assert logged[-1] == 2 * 597
    np.testing.assert_array_equal(tally.summary()["active_samples"], [2_400, 1_800])
    np.testing.assert_allclose(tally.summary()["nmse_db/worst"], decibels(0.9, 0.9), atol=1e-4)
