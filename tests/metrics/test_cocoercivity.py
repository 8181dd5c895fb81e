import pytest
import torch

from decinv.codecs import LinearCodec
from decinv.metrics import cocoercivity
from decinv.problems import DecoderProblem


def test_linear_codec_has_values_between_the_inverse_eigenvalues():
    codec = LinearCodec((0.5, 0.8, 1.25))
    truth = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    problem = DecoderProblem(codec, codec.decode(truth))
    point = problem.start()
    value = cocoercivity(problem.evaluate(point).residual, point - truth)
    assert ((value >= 1 / 1.25 - 1e-4) & (value <= 1 / 0.5 + 1e-4)).all()


def test_scalar_map_has_its_inverse_slope_and_zero_is_nan():
    offset = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    value = cocoercivity(4 * offset, offset)
    assert value[0] == pytest.approx(0.25)
    assert value[1].isnan()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        cocoercivity(torch.zeros(1, 2), torch.zeros(1, 3))
