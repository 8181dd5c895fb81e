import pytest
import torch

from decinv.codecs import LinearCodec, Scaling


def test_encoding_what_was_decoded_is_the_matrix_with_the_given_eigenvalues(images) -> None:
    codec = LinearCodec((0.3, 0.9, 1.4), stride=2, seed=3)
    latent = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(codec.encode(codec.decode(latent)), torch.einsum("cd,bdhw->bchw", codec.matrix, latent))
    torch.testing.assert_close(codec.matrix, codec.matrix.T)
    torch.testing.assert_close(torch.linalg.eigvalsh(codec.matrix), torch.tensor([0.3, 0.9, 1.4]))


def test_the_decoder_is_an_isometry_of_patches() -> None:
    codec = LinearCodec()
    torch.testing.assert_close(codec.basis.T @ codec.basis, torch.eye(4), rtol=0, atol=1e-6)
    latent = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    changed = latent.clone()
    changed[0, :, 1, 2] += 1
    difference = (codec.decode(changed) - codec.decode(latent)).abs().sum(1)[0]
    assert difference[4:8, 8:12].sum() > 0
    difference[4:8, 8:12] = 0
    assert difference.max() < 1e-6


def test_the_fixed_point_solves_the_problem(images) -> None:
    codec = LinearCodec()
    image = images(2)
    torch.testing.assert_close(codec.encode(codec.decode(codec.fixed_point(image))), codec.encode(image), rtol=0, atol=1e-6)


def test_the_fixed_point_of_a_decoded_latent_is_the_latent() -> None:
    codec = LinearCodec()
    latent = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(codec.fixed_point(codec.decode(latent)), latent, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rho", "rate"), [(1.0, 0.6), (1.5, 0.5), (2.0, 1.0), (0.1, 0.96)])
def test_the_rate_is_the_largest_factor(rho: float, rate: float) -> None:
    assert LinearCodec((0.4, 0.6, 0.8, 1.0)).rate(rho) == pytest.approx(rate)


def test_seed_and_scaling(images) -> None:
    assert torch.equal(LinearCodec(seed=1).matrix, LinearCodec(seed=1).matrix)
    assert not torch.equal(LinearCodec(seed=1).matrix, LinearCodec(seed=2).matrix)
    assert LinearCodec(scaling_factor=0.5, shift_factor=0.1).scaling == Scaling(0.5, 0.1)
    assert not any(parameter.requires_grad for parameter in LinearCodec().parameters())


@pytest.mark.parametrize(
    ("eigenvalues", "message"),
    [((), r"above 0, but got \(\)"), ((0.5, 0.0), r"but got \(0.5, 0.0\)"), ((1.0,) * 13, r"at most 3 \* stride\^2 = 12")],
)
def test_other_eigenvalues_are_refused(eigenvalues: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearCodec(eigenvalues, stride=2)
