import pytest
import torch

import decinv.benchmark.measuring.measure as measure
import decinv.benchmark.measuring.trajectory as trajectory
from decinv.batch import Batch
from decinv.benchmark.measuring.measure import measure_quality
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT, GRADIENT, DecoderMethod
from decinv.benchmark.measuring.trajectory import follow, follow_all, follow_ticks
from decinv.codecs import LinearCodec
from decinv.problems import DecoderProblem
from decinv.updates import ForwardStep

MARKS = (1, 2, 5)


@pytest.fixture(scope="module")
def codec():
    return LinearCodec(eigenvalues=(0.4, 0.6, 0.8, 0.9), scaling_factor=0.5)


@pytest.fixture(scope="module")
def batch(codec):
    latent = 0.3 * torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    return Batch(codec.decode(latent), ("a", "b", "c"), latent)


def _parts(batch, *bounds):
    return [Batch(batch.image[i:j], batch.names[i:j], batch.latent[i:j]) for i, j in bounds]


def test_forward_step_follows_its_closed_form(codec, batch):
    step = 0.7
    found = follow(DecoderMethod("forward", DecoderProblem, lambda params: ForwardStep(params, lr=step)), codec, batch, [6])
    identity, matrix, truth = torch.eye(4, dtype=torch.float64), codec.matrix.double(), batch.latent.double()
    for k in range(7):
        # After k evaluations the best point evaluated is z_{k - 1}, whose error is (I - rho A)^(k - 1) (A - I) z*.
        error = torch.linalg.matrix_power(identity - step * matrix, max(k - 1, 0)) @ (matrix - identity)
        squares = torch.einsum("cd,bdhw->bchw", error, truth).square().sum((1, 2, 3)) / truth.square().sum((1, 2, 3))
        torch.testing.assert_close(found.nmse_db[k].double(), 10 * torch.log10(squares), atol=2e-3, rtol=0)
    assert found.means_db == pytest.approx(found.nmse_db.mean(1).tolist(), abs=1e-4)


@pytest.mark.parametrize("name", ["encoder", "forward step 1", DEFAULT, "paper Adam 0.01", GRADIENT])
def test_marks_are_those_of_the_quality_measured_on_its_own(codec, batch, name):
    method, chunks, words = BY_NAME[name], _parts(batch, (0, 2), (2, 3)), []
    found = follow_all(method, codec, chunks, MARKS, words.append)
    expected = measure_quality(method, codec, batch, MARKS)
    marked = {mark: (run.nmse_db[mark], psnr) for run in found for mark, psnr in run.psnr_db.items()}
    assert list(marked) == list(expected)
    for mark, (errors, psnr) in marked.items():
        torch.testing.assert_close(errors, expected[mark].nmse_db, atol=2e-3, rtol=0)
        torch.testing.assert_close(psnr, expected[mark].psnr_db, atol=2e-3, rtol=0)
    assert [len(run.nmse_db) - 1 for run in found] == [run[-1] for run in method.runs(MARKS)]
    assert len(words) == follow_ticks([method], chunks, MARKS)


def test_only_the_method_itself_is_timed(batch, ticking, monkeypatch):
    for module in (measure, trajectory):
        monkeypatch.setattr(module, "now", lambda device: ticking.seconds)
    chunks = _parts(batch, (0, 2), (2, 3))
    (found,) = follow_all(BY_NAME["forward step 1"], ticking, chunks, MARKS, lambda word: None)
    assert found.seconds.tolist() == [3.0 * (2 * k + 1) for k in range(6)]


def test_a_sample_that_ends_early_keeps_its_best(codec, batch):
    # The residual grows by up to |1 - 10 * 0.9| = 8 a step, until the solver gives up.
    found = follow(DecoderMethod("too far", DecoderProblem, lambda params: ForwardStep(params, lr=10.0)), codec, batch, [30])
    torch.testing.assert_close(found.nmse_db, found.nmse_db[:1].expand(31, -1))
    assert found.seconds[-1] == found.seconds[-10]
