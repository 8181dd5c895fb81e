import pytest
import torch

from decinv.codecs.autoencoder import AutoencoderCodec
from decinv.metrics import attainable_nmse_db, nmse_db, singular_values
from decinv.metrics.conditioning import ROUNDING


def _matrix(values: torch.Tensor, pixels: int) -> torch.Tensor:
    """A linear decoder ``(pixels, N)`` with given singular values."""
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(pixels, len(values), generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64))[0]
    return left * values @ right.T


@pytest.mark.parametrize("at_once", [1, 5, 16])
def test_those_of_a_linear_decoder_are_its_own(at_once: int) -> None:
    values = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1, 0.0], dtype=torch.float64)
    matrix = _matrix(values, 12)
    latent = torch.randn(2, 1, 2, 3, dtype=torch.float64)
    found = singular_values(lambda z: (z.flatten(1) @ matrix.T).view(-1, 3, 2, 2), latent, at_once)
    torch.testing.assert_close(found, values.expand(2, -1), atol=1e-7, rtol=0)


def test_directions_that_an_image_has_no_room_for_have_none() -> None:
    found = singular_values(lambda z: 2 * z.flatten(1)[:, :3], torch.randn(1, 5))
    torch.testing.assert_close(found, torch.tensor([[2.0, 2.0, 2.0, 0.0, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("channels_last", [False, True])
def test_those_of_an_autoencoder_are_those_of_differences(saved, channels_last: bool) -> None:
    codec = AutoencoderCodec(str(saved("kl")), channels_last=channels_last).double()
    latent = torch.randn(1, codec.latent_channels, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = singular_values(codec._decode, latent)
    step = 1e-5 * torch.eye(latent.numel(), dtype=torch.float64).view(-1, *latent.shape[1:])
    with torch.no_grad():
        rows = (codec._decode(latent + step) - codec._decode(latent - step)).flatten(1) / 2e-5
    torch.testing.assert_close(found[0], torch.linalg.svdvals(rows), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("spread", [None, 0.3])
def test_no_linear_estimate_does_better(spread: float | None) -> None:
    """The posterior mean of 4,000 draws has the error that is told, and three other weights of the prior have more."""
    generator = torch.Generator().manual_seed(1)
    noise, count = 0.2, 4000
    matrix = _matrix(torch.tensor([2.0, 1.0, 0.4, 0.2], dtype=torch.float64), 9)
    centre = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    error = torch.randn(count, 4, generator=generator, dtype=torch.float64) * (0.0 if spread is None else spread)
    latent = centre + error
    image = latent @ matrix.T + noise * torch.randn(count, 9, generator=generator, dtype=torch.float64)

    def mean_error(precision: float) -> float:
        system = matrix.T @ matrix + precision * torch.eye(4, dtype=torch.float64)
        estimate = centre + torch.linalg.solve(system, matrix.T @ (image - centre @ matrix.T).T).T
        return float((estimate - latent).square().sum(1).mean())

    spreads = None if spread is None else torch.tensor([spread])
    told = attainable_nmse_db(torch.linalg.svdvals(matrix)[None], centre[None], noise, spreads)
    best = 0.0 if spread is None else (noise / spread) ** 2
    assert mean_error(best) == pytest.approx(float(10 ** (told / 10) * centre.square().sum()), rel=0.05)
    if spread is not None:
        assert all(mean_error(best) < mean_error(factor * best) for factor in (0.0, 0.3, 3.0))


def test_an_orthonormal_decoder_leaves_what_rounding_does() -> None:
    latent = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    rounded = (latent * 127.5).round() / 127.5
    told = attainable_nmse_db(torch.ones(3, 16), latent)
    assert float(nmse_db(rounded, latent).mean()) == pytest.approx(float(told.mean()), abs=1.0)
    assert pytest.approx((2 / 255) ** 2 / 12) == ROUNDING**2


def test_what_shows_in_nothing_is_unknown_without_a_prior() -> None:
    singular, latent = torch.tensor([[1.0, 0.0]]), torch.ones(1, 2)
    assert attainable_nmse_db(singular, latent).isinf().all()
    assert attainable_nmse_db(singular, latent, spread=torch.tensor([0.1])).isfinite().all()


@pytest.mark.parametrize(("noise", "values"), [(0.0, 4), (0.1, 3)])
def test_what_does_not_fit_is_refused(noise: float, values: int) -> None:
    with pytest.raises(ValueError, match="Expected `noise` above 0 and singular values"):
        attainable_nmse_db(torch.ones(2, values), torch.ones(2, 4), noise)
