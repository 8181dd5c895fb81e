import torch

from decinv.codecs import LinearCodec, load_codec
from decinv.modules import GradientInversion
from decinv.status import Status


def test_sgd_follows_its_closed_form(fit, images) -> None:
    """D(z) = Q z with orthonormal Q, so the error is ``(1 - 2 lr)^k e_0``."""
    codec = LinearCodec()
    image = images(2)
    module = GradientInversion(codec, lambda p: torch.optim.SGD(p, lr=0.2), max_iters=6, last_iterate=True)
    result = fit(module, [image])[0].results[0]
    truth = codec.fixed_point(image)
    expected = truth + 0.6**6 * (codec.encode(image) - truth)
    torch.testing.assert_close(result.latent, expected, rtol=0, atol=1e-5)


def test_the_residual_is_the_relative_pixel_error(fit, images) -> None:
    codec = LinearCodec()
    image = images(2)
    result = fit(GradientInversion(codec, max_iters=5), [image])[0].results[0]
    error = (codec.decode(result.latent) - image).flatten(1).norm(dim=1) / image.flatten(1).norm(dim=1)
    torch.testing.assert_close(result.residual, error)
    assert (result.history[1:] < result.history[:-1]).all() or result.residual.equal(result.history.amin(0))


def test_samples_stop_on_their_own(fit, images) -> None:
    codec = LinearCodec()
    easy = codec.decode(codec.fixed_point(images(1))) * 0.9  # can be reproduced exactly, the other one cannot
    module = GradientInversion(codec, lambda p: torch.optim.SGD(p, lr=0.4), max_iters=20, rtol=1e-4)
    result = fit(module, [torch.cat([easy, images(1, seed=1)])])[0].results[0]
    assert result.status == (Status.CONVERGED, Status.MAX_ITERS)
    assert result.iterations[0] < 10
    assert result.iterations[1] == 20


def test_checkpointing_changes_nothing(fit, saved, images) -> None:
    codec = load_codec(saved("kl"))
    latents = [
        fit(GradientInversion(codec, max_iters=3, checkpointing=value), [images(2, 32, 32)])[0].results[0].latent
        for value in (False, True)
    ]
    assert torch.equal(*latents)
