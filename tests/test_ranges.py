import math

import numpy as np
import pytest
import torch
from torch import nn

from decinv.codecs import LinearCodec
from decinv.modules import AutoencoderTraining, DecoderInversion
from decinv.ranges import refuse_below, refuse_not_above
from decinv.updates import Anderson, AveragedForwardStep, ForwardStep, InertialKM, PlateauForwardStep


def test_what_is_below_is_named_and_null_is_in_range():
    refuse_below(1, count=1, limit=None)
    for value in (0, -1.5, math.nan):
        with pytest.raises(ValueError, match=rf"^Expected `limit` to be at least 1, but got {value}\.$"):
            refuse_below(1, count=1, limit=value)


def test_what_is_not_above_is_named_and_null_is_in_range():
    refuse_not_above(0, lr=1e-9, fps=None)
    for value in (0, -1.5, math.nan):
        with pytest.raises(ValueError, match=rf"^Expected `fps` to be above 0, but got {value}\.$"):
            refuse_not_above(0, lr=1.0, fps=value)


def test_what_is_infinite_is_called_so():
    with pytest.raises(ValueError, match=r"^Expected `rtol` to be at least 0 and finite, but got inf\.$"):
        refuse_below(0, rtol=math.inf)
    with pytest.raises(ValueError, match=r"^Expected `lr` to be above 0 and finite, but got inf\.$"):
        refuse_not_above(0, lr=math.inf)


@pytest.mark.parametrize("value", ["1e-3", [1.0], {"lr": 1.0}])
def test_what_is_no_number_is_called_so(value):
    for refuse in (refuse_below, refuse_not_above):
        with pytest.raises(TypeError, match=r"^Expected `rtol` to be a number, but got .*\.$"):
            refuse(0, rtol=value)
    refuse_below(0, rtol=torch.tensor(1e-3), lr=np.float32(1e-3))


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        (ForwardStep, "lr"),
        (AveragedForwardStep, "lr"),
        (InertialKM, "lr"),
        (PlateauForwardStep, "lr"),
        (Anderson, "lr"),
        (Anderson, "ridge"),
        (Anderson, "prior"),
        (Anderson, "latent_weight"),
    ],
)
def test_rates_and_weights_of_rules_are_finite(kind, option):
    with pytest.raises(ValueError, match=f"`{option}` to be .* finite, but got inf"):
        kind([nn.Parameter(torch.zeros(1, 4, 2, 2))], **{option: math.inf})


def test_options_of_inversions_and_trainings_are_finite():
    with pytest.raises(ValueError, match="`rtol` to be at least 0 and finite"):
        DecoderInversion(LinearCodec(), rtol=math.inf)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="`lr` to be above 0"):
            AutoencoderTraining(block_out_channels=(8,), lr=bad)
    with pytest.raises(ValueError, match="`scaling_factor` other than 0"):
        LinearCodec(scaling_factor=math.inf)
