import pytest
import torch

from decinv.api import invert
from decinv.codecs import LinearCodec, load_codec
from decinv.memory import PeakMemory
from decinv.problems import GradientProblem
from decinv.status import Status


@pytest.mark.parametrize("scaling", [(1.0, 0.0), (0.18215, 0.0), (1.5305, 0.0609)])
def test_gradient_in_closed_form(images, scaling: tuple[float, float]) -> None:
    """For D(z) = Q z with raw z = s / factor + shift: the gradient in s is ``2 Q^T (Q z - x) / factor``."""
    codec = LinearCodec(scaling_factor=scaling[0], shift_factor=scaling[1])
    image = images(2)
    problem = GradientProblem(codec, image)
    point = problem.start() + 0.1
    raw = point / scaling[0] + scaling[1]
    result = problem.evaluate(point)
    torch.testing.assert_close(result.residual, 2 * (raw - codec.fixed_point(image)) / scaling[0], rtol=1e-4, atol=1e-4)
    error = codec.decode(raw) - image
    torch.testing.assert_close(result.mismatch, error)
    torch.testing.assert_close(result.merit, error.flatten(1).norm(dim=1) / image.flatten(1).norm(dim=1))


def test_gradient_against_finite_differences(images) -> None:
    codec = LinearCodec(scaling_factor=0.5, shift_factor=0.1).double()
    image = images(1, 8, 8).double()
    problem = GradientProblem(codec, image)
    point = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(at: torch.Tensor) -> float:
        return float((codec._decode(problem.latent(at)) - image).square().sum())

    gradient = problem.evaluate(point).residual.flatten()
    for index in range(point.numel()):
        step = torch.zeros(point.numel(), dtype=torch.float64)
        step[index] = 1e-4
        step = step.view_as(point)
        difference = (loss(point + step) - loss(point - step)) / 2e-4
        assert gradient[index].item() == pytest.approx(difference, rel=1e-4, abs=1e-5)


def test_gradient_against_autograd_by_hand_on_a_real_decoder(saved, images) -> None:
    codec = load_codec(saved("kl"))
    image = images(2, 32, 32)
    problem = GradientProblem(codec, image)
    point = problem.start().requires_grad_()
    error = codec.model.decode(point / 0.18215).sample - image
    error.square().sum().backward()
    result = problem.evaluate(point.detach())
    assert point.grad is not None
    torch.testing.assert_close(result.residual, point.grad, rtol=1e-4, atol=1e-3)
    assert all(parameter.grad is None for parameter in codec.parameters())


@pytest.mark.parametrize("kind", ["kl", "tiny", "dc", "asymmetric", "vq"])
def test_checkpointing_changes_nothing_but_the_memory(saved, images, kind) -> None:
    codec = load_codec(saved(kind))
    image = images(1, 128, 128)
    peaks, results = [], []
    for checkpointing in (False, True):
        problem = GradientProblem(codec, image, checkpointing)
        with torch.no_grad():
            point = problem.start()
            with PeakMemory("cpu") as memory:
                results.append(problem.evaluate(point))
        peaks.append(memory.bytes)
    for part, other in zip(*results, strict=True):
        assert torch.equal(part, other)
        assert not part.requires_grad
    assert peaks[1] < (0.95 if kind in ("tiny", "dc") else 0.7) * peaks[0]
    assert not any("forward" in vars(module) for module in codec.modules())


def test_checkpointing_of_a_codec_without_blocks_is_refused(images) -> None:
    with pytest.raises(ValueError, match=r"but LinearCodec has none; leave `checkpointing` off\.$"):
        GradientProblem(LinearCodec(), images(1), checkpointing=True)


def test_selecting_rows_keeps_theirs(images) -> None:
    problem = GradientProblem(LinearCodec(), images(4))
    point = problem.start() + 0.1
    before = problem.evaluate(point)
    keep = torch.tensor([0, 2])
    problem.select(keep)
    for part, expected in zip(problem.evaluate(point[keep]), before.select(keep), strict=True):
        torch.testing.assert_close(part, expected, rtol=0, atol=1e-6)


class Overflowing(LinearCodec):
    """Encodes bright images to infinity, which its decoder saturates at."""

    def _encode(self, image):
        bright = image.flatten(1).amax(1).view(-1, 1, 1, 1) > 0.5
        return torch.where(bright, torch.inf, super()._encode(image))

    def _decode(self, latent):
        return super()._decode(3 * torch.tanh(latent / 3))


def test_a_latent_that_is_not_finite_is_not_reported_whatever_its_image() -> None:
    image = torch.cat([torch.full((1, 3, 16, 16), level) for level in (0.2, 0.6)])
    result = invert(image, Overflowing(), torch.optim.SGD, max_iters=3, problem=GradientProblem)
    assert result.status == (Status.MAX_ITERS, Status.DIVERGED)
    assert result.latent[0].isfinite().all()
    assert result.latent[1].isnan().all()
    assert result.residual.isfinite().tolist() == [True, False]
