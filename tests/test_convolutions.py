"""How exactly float32 convolutions are computed; the flag that says so is there on machines without CUDA, too."""

import pytest
import torch

from decinv.codecs import AutoencoderCodec
from decinv.convolutions import convolutions
from decinv.diffusion import DDIM, DiffusersPipeline
from decinv.diffusion.conditioned import conditioned
from decinv.diffusion.networks import UNetDenoiser
from decinv.problems import GradientProblem
from decinv.problems.guided_newton import GuidedNewtonProblem
from decinv.problems.step import StepProblem
from decinv.problems.step_gradient import GradientStepProblem


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


def _seen_backwards(part: torch.nn.Module) -> list[bool]:
    """Note the flag in the backward pass of each convolution of a network."""
    seen: list[bool] = []
    for layer in part.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_full_backward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    return seen


@pytest.mark.parametrize("tf32", [False, True])
def test_gradients_are_as_exact_as_what_they_are_of(tf32: bool, images) -> None:
    codec = AutoencoderCodec(tf32=tf32)
    seen = _seen_backwards(codec.model.decoder)
    problem = GradientProblem(codec, images(1, 32, 32))
    problem.evaluate(problem.start())
    assert seen
    assert set(seen) == {tf32}


@pytest.mark.parametrize("kind", [GradientStepProblem, GuidedNewtonProblem])
def test_so_are_those_of_denoising_networks(kind: type[StepProblem]) -> None:
    pipeline = DiffusersPipeline()
    process = conditioned(pipeline, DDIM(4), ["a red circle on a plain blue background"], (8, 8), 8)
    network = process.guidance.denoiser
    assert isinstance(network, UNetDenoiser)
    seen = _seen_backwards(network.model)
    point = torch.randn(1, 4, 8, 8)
    kind(process, process.steps[1], point, point).evaluate(point)
    assert seen
    assert set(seen) == {False}
