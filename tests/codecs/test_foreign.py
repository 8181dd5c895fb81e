"""Codecs of users that do what none of ours does: each is inverted all the same, or refused in one sentence."""

import pytest
import torch
from torch import Tensor

import decinv
from decinv.codecs import LinearCodec
from decinv.problems import GradientProblem
from decinv.updates import Anderson, ResidualAnderson


class Scaled(LinearCodec):
    """Gives latents of another scale."""

    def __init__(self, scale: float) -> None:
        super().__init__((0.2, 0.5, 0.9, 1.6))
        self.scale = scale

    def _encode(self, image: Tensor) -> Tensor:
        return super()._encode(image) * self.scale

    def _decode(self, latent: Tensor) -> Tensor:
        return super()._decode(latent / self.scale)


@pytest.mark.parametrize("rule", [Anderson, ResidualAnderson])
@pytest.mark.parametrize("power", [-100, -80, -40, 40, 80, 100])
def test_the_scale_of_latents_changes_nothing_but_their_scale(images, rule, power: int) -> None:
    """Powers of two, so that not even rounding differs."""
    plain, scaled = Scaled(1.0), Scaled(2.0**power)
    image = plain.decode(plain.encode(images(3, 32, 32)))
    expected, found = (decinv.invert(image, codec, rule) for codec in (plain, scaled))
    assert set(expected.status) == {decinv.Status.CONVERGED}
    assert found.status == expected.status
    assert torch.equal(found.iterations, expected.iterations)
    assert torch.equal(found.residual, expected.residual)
    assert torch.equal(found.latent, expected.latent * 2.0**power)


class Reusing(LinearCodec):
    """Writes each output to the same memory, as recorded graphs do."""

    def _encode(self, image: Tensor) -> Tensor:
        return self._at("encoded", super()._encode(image))

    def _decode(self, latent: Tensor) -> Tensor:
        return self._at("decoded", super()._decode(latent))

    def _at(self, name: str, output: Tensor) -> Tensor:
        kept: Tensor = vars(self).setdefault(name, torch.empty_like(output))
        return kept.resize_(output.shape).copy_(output)


def test_outputs_may_be_at_the_same_place_each_time(images) -> None:
    expected, found = (decinv.invert(images(2), codec) for codec in (LinearCodec(), Reusing()))
    assert torch.equal(found.latent, expected.latent)
    assert torch.equal(found.residual, expected.residual)


class Foreign(LinearCodec):
    """Does something to the image before it is encoded, and to what comes out."""

    def __init__(self, before, after) -> None:
        super().__init__()
        self.before, self.after = before, after

    def _encode(self, image: Tensor) -> Tensor:
        return self.after(super()._encode(self.before(image)))


def nothing(tensor: Tensor) -> Tensor:
    return tensor


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (lambda image: image.add_(1).div_(2), nothing, "leave its input as it is"),
        (nothing, lambda latent: (latent,), "a tensor of real numbers, but got tuple"),
        (nothing, lambda latent: None, "a tensor of real numbers, but got NoneType"),
        (nothing, lambda latent: latent.to(torch.complex64), "a tensor of real numbers, but got torch.complex64"),
    ],
)
def test_what_is_no_codec_is_refused(images, before, after, what: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `_encode` of Foreign to .*{what}"):
        decinv.invert(images(2), Foreign(before, after))


class Offset(LinearCodec):
    """Decodes 0 to a grey image that is not 0."""

    def _decode(self, latent: Tensor) -> Tensor:
        return super()._decode(latent) + 0.1


@pytest.mark.parametrize("problem", [decinv.problems.DecoderProblem, GradientProblem])
def test_the_residual_of_an_image_that_is_0_is_absolute(problem) -> None:
    codec, image = Offset(), torch.zeros(1, 3, 8, 8)
    result = decinv.invert(image, codec, decinv.updates.ForwardStep, max_iters=1, problem=problem)
    assert codec.encode(image).count_nonzero() == 0
    assert result.latent.count_nonzero() == 0
    gap = codec.decode(result.latent) if problem is GradientProblem else codec.encode(codec.decode(result.latent))
    assert float(result.residual) == pytest.approx(float(gap.norm()))
