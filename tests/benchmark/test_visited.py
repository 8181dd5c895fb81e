from contextlib import nullcontext
from functools import partial

import pytest
import torch

from decinv.batch import Batch
from decinv.benchmark.cocoercivity.converged import converge
from decinv.benchmark.cocoercivity.visited import visit
from decinv.benchmark.measuring.counting import CountingCodec
from decinv.benchmark.measuring.methods import DecoderMethod
from decinv.codecs import LinearCodec
from decinv.problems import DecoderProblem, GradientProblem
from decinv.updates import ForwardStep


@pytest.fixture
def codec():
    return LinearCodec((0.5, 0.8, 1.0, 1.25), scaling_factor=0.5, shift_factor=0.2)


@pytest.fixture
def batch(codec):
    latent = 0.3 * torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    return Batch(codec.decode(latent), ("a", "b", "c"), latent)


def _forward(step_size):
    return DecoderMethod("forward", DecoderProblem, partial(ForwardStep, lr=step_size))


def test_the_path_is_the_closed_form_and_evaluates_each_point_once(codec, batch):
    counting = CountingCodec(codec)
    path = visit(_forward(0.7), counting, batch.image, window=3, steps=6)
    assert (counting.decodes, counting.encodes) == (3 * 7, 3 * 8)
    truth, start = (codec.scaling.apply(v).double() for v in (batch.latent, codec.encode(batch.image)))
    shrink = torch.eye(4, dtype=torch.float64) - 0.7 * codec.matrix.double()
    for k in (0, 1, 2, 3, 6):
        offset = torch.einsum("cd,bdhw->bchw", torch.linalg.matrix_power(shrink, k), start - truth)
        residual = torch.einsum("cd,bdhw->bchw", codec.matrix.double(), offset)
        point, found = (path.last, path.last_residual) if k == 6 else (path.points[k], path.residuals[k])
        torch.testing.assert_close(point.double(), truth + offset, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.double(), residual, atol=1e-5, rtol=0)
    torch.testing.assert_close(path.closest, path.last)


def test_a_watched_codec_takes_gradients_in_the_arithmetic_of_the_codec_itself(codec, batch, monkeypatch):
    entered = []
    monkeypatch.setattr(codec, "arithmetic", lambda: nullcontext(entered.append(True)))
    problem = GradientProblem(CountingCodec(codec), batch.image)
    problem.evaluate(problem.start())
    assert entered == [True]


def test_a_sample_that_blows_up_has_no_last_point(codec, batch):
    path = visit(_forward(20.0), codec, batch.image, window=5, steps=9)
    assert path.last.isnan().all()
    assert path.points[0].isfinite().all()
    assert path.points[5].isnan().all()
    torch.testing.assert_close(path.closest, path.points[0])


def test_converged_points_are_zeros_of_the_residual_map(codec, batch):
    first = codec.scaling.apply(batch.latent) + 0.1
    path = converge(codec, batch.image, first, 20)
    torch.testing.assert_close(path.points[0], first)
    torch.testing.assert_close(path.closest, codec.scaling.apply(batch.latent), atol=1e-5, rtol=0)
