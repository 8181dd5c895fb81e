import pytest
import torch

from decinv.api import invert
from decinv.codecs import LinearCodec
from decinv.modules import DecoderInversion, EncoderInversion
from decinv.problems import DecoderProblem
from decinv.status import Status
from decinv.updates import ForwardStep


def test_decoder_inversion_finds_the_latent(fit, images) -> None:
    codec = LinearCodec(scaling_factor=0.18215, shift_factor=0.1)
    image = codec.decode(codec.fixed_point(images(3)))
    result = fit(DecoderInversion(codec), [image])[0].results[0]
    assert result.status == (Status.CONVERGED,) * 3
    torch.testing.assert_close(result.latent, codec.fixed_point(image), rtol=0, atol=1e-4)
    residual = codec.encode(codec.decode(result.latent)) - codec.encode(image)
    relative = residual.flatten(1).norm(dim=1) / codec.encode(image).flatten(1).norm(dim=1)
    torch.testing.assert_close(result.residual, relative, rtol=0, atol=1e-6)


def test_encoder_inversion_is_e_of_x_with_its_residual(fit, images) -> None:
    codec = LinearCodec()
    chunks = [images(2), images(1, 8, 8, 1)]
    record, trainer = fit(EncoderInversion(codec), chunks)
    assert trainer.global_step == 0
    assert record.steps == [1, 1]
    for image, result in zip(chunks, record.results, strict=True):
        assert torch.equal(result.latent, codec.encode(image))
        problem = DecoderProblem(codec, image)
        assert torch.equal(result.residual, problem.evaluate(problem.start()).merit)
        assert result.evaluations.tolist() == [1] * len(image)
        assert set(result.status) == {Status.MAX_ITERS}


@pytest.mark.parametrize("arguments", [{"max_iters": 0}, {"rtol": -1.0}, {"patience": 0}])
def test_stopping_out_of_range_is_refused(arguments) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}` to be at least"):
        DecoderInversion(LinearCodec(), **arguments)


class Untrusting(ForwardStep):
    """Leaves every sample at its start."""

    def proof(self, first):
        return torch.zeros(2, len(first.merit))


def test_gradient_steps_are_taken_in_a_fit_as_in_python(fit, images) -> None:
    codec, image = LinearCodec(), images(3)
    module = DecoderInversion(codec, Untrusting, 6, rtol=0.0, patience=None, gradient_steps=5)
    assert module.max_iters == 11, "the steps that the loader holds a chunk for"
    record, trainer = fit(module, [image, image])
    expected = invert(image, codec, Untrusting, 6, rtol=0.0, patience=None, gradient_steps=5)
    assert trainer.global_step == 2 * (5 + 4), "an update follows each evaluation but the last of each part"
    for result in record.results:
        assert torch.equal(result.latent, expected.latent)
        assert result.iterations.tolist() == [11] * 3
