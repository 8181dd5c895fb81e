"""How exactly float32 convolutions are computed; the flag that says so is there on machines without CUDA, too."""

import pytest
import torch

from decinv.codecs import AutoencoderCodec
from decinv.convolutions import convolutions
from decinv.diffusion import DiffusersPipeline


@pytest.fixture(autouse=True)
def _torchs_default():
    yield
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    torch.backends.cudnn.allow_tf32 = True


def test_torch_rounds_by_default() -> None:
    assert torch.backends.cudnn.allow_tf32  # else there is no need for all this


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_the_flag_holds_within_the_block_only(tf32: bool, before: bool) -> None:
    torch.backends.cudnn.allow_tf32 = before
    with convolutions(tf32):
        assert torch.backends.cudnn.allow_tf32 == tf32
    assert torch.backends.cudnn.allow_tf32 == before


def test_the_flag_is_as_before_after_an_error() -> None:
    def fail() -> None:
        with convolutions(tf32=False):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.backends.cudnn.allow_tf32


def test_a_choice_for_single_operations_is_left_alone() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    with convolutions(tf32=True):
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"


@pytest.mark.parametrize("tf32", [False, True])
@torch.no_grad()
def test_a_codec_codes_exactly_unless_asked_not_to(tf32: bool, images) -> None:
    codec = AutoencoderCodec(tf32=tf32)
    seen: list[bool] = []
    for part in (codec.model.encoder, codec.model.decoder):
        part.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    codec.decode(codec.encode(images(1, 32, 32)))
    assert seen == [tf32, tf32]


@pytest.mark.parametrize("tf32", [False, True])
@torch.no_grad()
def test_a_network_predicts_exactly_unless_asked_not_to(tf32: bool) -> None:
    pipeline = DiffusersPipeline(tf32=tf32)
    prompt = pipeline.encode(["a red circle on a plain blue background"], (64, 64), torch.device("cpu"))
    denoiser = pipeline.denoiser(torch.device("cpu"))
    seen: list[bool] = []
    denoiser.model.conv_out.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    denoiser.predict(torch.zeros(1, pipeline.channels, 8, 8), torch.tensor([500.0]), prompt)
    assert seen == [tf32]
