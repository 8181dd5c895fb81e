"""Algorithms 1 and 2 of arXiv 2311.18387 against loops written down once more, a sample and a step at a time."""

import math

import pytest
import torch
from diffusers import DDIMScheduler

from decinv.diffusion import DDIM, DPMSolver
from decinv.methods import Algorithm1, Algorithm2
from decinv.metrics import nmse_db
from decinv.updates import PlateauForwardStep


class Loop:
    """One sample's way back, with a network that predicts noise, by the numbers of the released code."""

    def __init__(self, process, row, rounds, enough):
        self.process, self.rows = process, torch.tensor([row])
        self.rounds, self.enough = rounds, enough
        self.asked = self.halved = 0

    def noise(self, point, time):
        self.asked += 1
        return self.process.guidance(point, float(time), self.process.condition.select(self.rows))

    def naive(self, point, time, here, there):
        """Go from one level to another with the noise predicted here, where the network is told the time of there."""
        eps = self.noise(point, time)
        return there.alpha * (point - here.sigma * eps) / here.alpha + there.sigma * eps

    def forward_steps(self, step, target, start, size, warmup=20):
        """Warm up; halve the step after more than 20 rounds in which the loss did not fall by 1e-4 of itself."""
        point, part, best, waited = start, 1.0, math.inf, 0
        for index in range(self.rounds):
            eps = self.noise(point, step.time)
            reached = step.end.alpha * (point - step.start.sigma * eps) / step.start.alpha + step.end.sigma * eps
            loss = float((reached - target).square().sum())
            if loss < self.enough:
                return point
            point = point - size * part * min(1.0, (index + 1) / warmup) * (reached - target)
            best, waited = (loss, 0) if loss < best * (1 - 1e-4) else (best, waited + 1)
            if waited > 20:
                part, waited, self.halved = part / 2, 0, self.halved + 1
        self.asked += 1  # decinv judges the last point too
        return point


@pytest.mark.parametrize(
    ("size", "warmup", "enough", "rounds"),
    [(0.5, 20, 1e-3, 100), (0.5, 20, 0.0, 30), (2.3, 1, 1e-3, 60)],
    ids=["enough", "all rounds", "halved steps"],
)
def test_algorithm_1_is_its_released_loop(make, noise, size, warmup, enough, rounds):
    process = make(DDIM(4, "trailing"), scale=1.0, low=0.5)
    latent = process.generate(noise)
    process.spent.zero_()
    result = Algorithm1(lambda params: PlateauForwardStep(params, size, warmup), rounds, enough**0.5).invert(process, latent)
    for row in range(2):
        loop, point = Loop(process, row, rounds, enough), latent[row : row + 1]
        for step in reversed(process.steps):
            start = loop.naive(point, step.time, step.end, step.start)
            point = loop.forward_steps(step, point, start, size, warmup)
        torch.testing.assert_close(result.latent[row], point[0], rtol=1e-4, atol=1e-4)
        assert int(result.evaluations[row]) == loop.asked
        assert bool(loop.halved) == (size > 2)


@pytest.mark.parametrize(("steps", "stride"), [(10, 100), (5, 200)])
@pytest.mark.parametrize("enough", [1e-3, 0.0])
def test_algorithm_2_is_its_released_loop(make, noise, steps, stride, enough):
    process = make(DPMSolver(steps, spacing="trailing"), scale=1.0, low=0.5)
    levels = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod.double()
    assert [step.time for step in process.steps] == list(range(999, 0, -stride))
    latent = process.generate(noise)
    result = Algorithm2(max_iters=40, tolerance=enough**0.5).invert(process, latent)

    def finely(loop, point, first, last):
        """DDIM inversion in steps of ten training times."""
        for time in range(first, last, 10):
            alphas, sigmas = levels[[time, time + 10]].sqrt(), (1 - levels[[time, time + 10]]).sqrt()
            eps = loop.noise(point, time + 10)
            point = alphas[1].item() * (point - sigmas[0].item() * eps) / alphas[0].item() + sigmas[1].item() * eps
        return point

    for row in range(2):
        loop, point = Loop(process, row, 40, enough), latent[row : row + 1]
        for index in reversed(range(steps)):
            step, known = process.steps[index], point
            start, size = step.start, 1.0 if index == steps - 1 else 10 / (step.time - stride)
            if index in (0, steps - 1):
                begun = loop.naive(point, step.time, step.end, start)
            else:
                older = process.steps[index - 1]
                begun = finely(loop, point, int(step.time) - stride, int(step.time))
                past = finely(loop, begun, int(step.time), int(older.time))
                data = (begun - start.sigma * loop.noise(begun, step.time)) / start.alpha
                older_data = (past - older.start.sigma * loop.noise(past, older.time)) / older.start.alpha
                snr = [math.log(level.alpha / level.sigma) for level in (older.start, start, step.end)]
                part = (step.end.alpha - start.alpha * step.end.sigma / start.sigma) / 2
                known = point - part * (snr[2] - snr[1]) / (snr[1] - snr[0]) * (data - older_data)
            point = loop.forward_steps(step, known, begun, size)
        torch.testing.assert_close(result.latent[row], point[0], rtol=1e-4, atol=1e-4)
    assert float(nmse_db(result.latent, noise).max()) > -100  # no exact inverse hides a difference
