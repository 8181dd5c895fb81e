import pytest
import torch

from decinv.diffusion import DDIM
from decinv.methods import DualConditionalInversion, SPDInv


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_it_is_what_its_authors_compute(make, noise, descend, kind):
    """A rate small enough for no element to overshoot, for Adam's steps have the size of the rate whatever the error."""
    process = make(DDIM(2), scale=1.0, prediction_type=kind)
    latent = process.generate(noise)
    start, expected = (descend(process, latent, rounds, 4e-6, 1.5) for rounds in (0, 5))
    method = DualConditionalInversion(lambda params: torch.optim.AdamW(params, lr=4e-6), rate=1.5, max_iters=5, tolerance=0.0)
    found = method.invert(process, latent).latent
    moved, off = ((other - expected).abs() for other in (start, found))
    assert off.mean() < 0.1 * moved.mean()
    without = SPDInv(method.update, max_iters=5, tolerance=0.0).invert(process, latent).latent
    assert (without - expected).abs().mean() > 3 * off.mean()


def test_its_defaults_are_those_of_the_released_program(make, noise, descend):
    """No step comes near enough within 10 rounds; beside these, the start and the outcome are predicted at."""
    process = make(DDIM(20, "trailing"), scale=1.0)
    latent = process.generate(noise)
    process.spent.zero_()
    expected = descend(process, latent, 10, 1e-3, 1.0, 5e-6)
    spent = process.spent.clone()
    result = DualConditionalInversion().invert(process, latent)
    torch.testing.assert_close(result.latent, expected, rtol=0, atol=1e-5)
    assert result.evaluations.tolist() == spent.tolist()
    assert spent.tolist() == [20 * 12] * 2


def test_without_a_pull_it_is_spdinv(make, noise):
    process = make(DDIM(4), scale=1.0)
    latent = process.generate(noise)
    one, other = DualConditionalInversion(rate=0.0, max_iters=3), SPDInv(max_iters=3)
    assert torch.equal(one.invert(process, latent).latent, other.invert(process, latent).latent)


def test_samples_do_not_mix(make, noise):
    latent = make(DDIM(3), scale=1.0).generate(noise)
    changed = latent * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    method = DualConditionalInversion(max_iters=3)
    one, other = (method.invert(make(DDIM(3), scale=1.0), each).latent for each in (latent, changed))
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


def test_a_negative_rate_is_refused():
    with pytest.raises(ValueError, match="rate"):
        DualConditionalInversion(rate=-1.0)
