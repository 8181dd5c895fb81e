import pytest
import torch

from decinv.diffusion import DDIM, DPMSolver
from decinv.methods import NaiveInversion, SPDInv
from decinv.metrics import nmse_db


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_it_is_what_its_authors_compute(make, noise, descend, kind):
    """A rate small enough for no element to overshoot, for Adam's steps have the size of the rate whatever the error."""
    process = make(DDIM(2), scale=1.0, prediction_type=kind)
    latent = process.generate(noise)
    start, expected = (descend(process, latent, rounds, 4e-6) for rounds in (0, 5))
    method = SPDInv(lambda params: torch.optim.AdamW(params, lr=4e-6), max_iters=5, tolerance=0.0)
    moved, off = ((other - expected).abs() for other in (start, method.invert(process, latent).latent))
    assert off.mean() < 0.1 * moved.mean()


def test_its_defaults_are_those_of_the_released_program(make, noise, descend):
    """Some steps end with the update after the error was small enough, others after 25 rounds, each sample for itself."""
    process = make(DDIM(20, "trailing"), scale=1.0)
    latent = process.generate(noise)
    process.spent.zero_()
    expected = descend(process, latent, 25, 1e-3, enough=5e-6)
    spent = process.spent.clone()
    result = SPDInv().invert(process, latent)
    torch.testing.assert_close(result.latent, expected, rtol=0, atol=1e-5)
    assert result.evaluations.tolist() == spent.tolist()
    assert spent[0] != spent[1]
    assert spent.max() < 20 * 25


def test_it_comes_closer_than_naive_inversion(make, noise):
    process = make(DDIM(20), scale=1.0)
    latent = process.generate(noise)
    naive, ours = (nmse_db(method.invert(process, latent).latent, noise) for method in (NaiveInversion(), SPDInv()))
    assert (ours < naive - 6).all()


def test_histories_are_refused(make, noise):
    with pytest.raises(ValueError, match="first order for SPDInv"):
        SPDInv().invert(make(DPMSolver(4)), noise)
