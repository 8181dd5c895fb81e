"""Checkpoints in the middle of a chunk whose decoder, and then sampler, is inverted."""

import pytest
import torch
from lightning import Callback

from decinv.callbacks import ChunkCheckpoint
from decinv.diffusion import DDIM, DPMSolver, GaussianDenoiser, Pipeline, Prompt
from decinv.methods import ExactInversion, GuidedNewtonReleased, NewtonKrylov
from decinv.modules import DecodedLatent, KnownLatent, SamplerInversion


class Normal(Pipeline):
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    channels = 4

    def encode(self, texts, size, device):
        return Prompt(torch.zeros(len(texts), 1, 1, 1, device=device))

    def denoiser(self, device):
        return GaussianDenoiser(self.config, torch.linspace(0.1, 1.0, 64).view(4, 4, 4)).to(device)


class Stop(Callback):
    def __init__(self, iteration):
        self.iteration, self.seen = iteration, []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.seen.append(pl_module.solver.iteration)
        if pl_module.solver.iteration == self.iteration:
            raise RuntimeError("out of order")


@pytest.fixture
def invert(fit, codec, make_batch):
    def run(sampler, method, decoder, stop_at=None, checkpoint=True):
        module = SamplerInversion(codec, Normal(), sampler, method, decoder, guidance=2.0)
        stop = Stop(stop_at)
        callbacks = [ChunkCheckpoint(0.0 if stop_at else 300.0), stop] if checkpoint else [stop]
        if stop_at is None:
            fit(callbacks, [make_batch(["a", "b", "c"])], module=module)
        else:
            with pytest.raises(RuntimeError, match="out of order"):
                fit(callbacks, [make_batch(["a", "b", "c"])], module=module)
        return module, stop.seen

    return run


@pytest.mark.parametrize(
    ("sampler", "method", "decoder", "stops"),
    [
        (DDIM(4), ExactInversion(), DecodedLatent(max_iters=6), (3, 9, -2)),
        (DDIM(3), GuidedNewtonReleased(), KnownLatent(), (1, 2, 4)),
        (DDIM(2), NewtonKrylov(products=2, max_iters=3), KnownLatent(), (1, -1)),
        (DPMSolver(3), ExactInversion(max_iters=12), DecodedLatent(max_iters=4), (6,)),
    ],
    ids=["steps", "sign steps", "newton", "whole"],
)
def test_a_run_that_broke_off_continues_bit_for_bit(invert, tmp_path, sampler, method, decoder, stops):
    expected, seen = invert(sampler, method, decoder, checkpoint=False)
    expected = expected.result
    for stop in stops:
        stop = stop if stop > 0 else seen[stop - 1]
        invert(sampler, method, decoder, stop)
        (path,) = (tmp_path / "run" / "checkpoints").glob("*.pt")
        module, again = invert(sampler, method, decoder)
        assert again == seen[seen.index(stop) + 1 :]
        for name in ("noise", "latent", "residual", "history", "iterations", "evaluations"):
            found, wanted = getattr(module.result, name), getattr(expected, name)
            assert torch.equal(found.nan_to_num(), wanted.nan_to_num()), (name, stop)
        assert module.result.status == expected.status
        assert not path.exists()


def test_the_state_of_another_course_is_ignored(invert, tmp_path):
    expected, seen = invert(DDIM(2), ExactInversion(), KnownLatent(), checkpoint=False)
    _, longer = invert(DDIM(4), ExactInversion(), KnownLatent(), checkpoint=False)
    invert(DDIM(4), ExactInversion(), KnownLatent(), longer[-2])
    with pytest.warns(UserWarning, match="starts at the beginning"):
        module, again = invert(DDIM(2), ExactInversion(), KnownLatent())
    assert again == seen
    assert torch.equal(module.result.latent, expected.result.latent)
    assert torch.equal(module.result.noise, expected.result.noise)
    assert torch.equal(module.result.evaluations, expected.result.evaluations)
