"""The midpoint rule and FireFlow, against both written down once more, and against an exact solution."""

import math
from itertools import pairwise

import pytest
import torch

from decinv.diffusion import Denoiser, FireFlow, FlowEuler, FlowMidpoint, GaussianDenoiser, Guidance, Process

SHIFTED = {"shift": 3.0}


@pytest.fixture
def make(condition, deviation):
    def process(sampler, **config):
        denoiser = GaussianDenoiser({"prediction_type": "flow_prediction"}, deviation)
        return Process(sampler.trajectory(config), Guidance(denoiser, 1.0), condition)

    return process


def levels(steps, config):
    return [step.start.sigma for step in FlowEuler(steps).trajectory(config).steps] + [0.0]


def run(process, point, sigmas, keeps):
    """Run the midpoint rule in its usual form; FireFlow ``keeps`` the velocity of the last midpoint."""

    def velocity(point, sigma):
        return process.guidance(point, 1000 * sigma, process.condition)

    kept = None
    for start, end in pairwise(sigmas):
        first = velocity(point, start) if kept is None else kept
        half = velocity(point + (end - start) / 2 * first, (start + end) / 2)
        point, kept = point + (end - start) * half, half if keeps else None
    return point


@pytest.mark.parametrize("config", [{}, SHIFTED], ids=["even", "shifted"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("kind", [FlowMidpoint, FireFlow])
def test_samples_are_those_of_the_rule(make, noise, kind, steps, config):
    process = make(kind(steps), **config)
    expected = run(process, noise, levels(steps, config), kind is FireFlow)
    torch.testing.assert_close(process.generate(noise), expected, rtol=1e-5, atol=1e-5)
    assert process.spent.tolist() == [steps + 1 if kind is FireFlow else 2 * steps] * 2


@pytest.mark.parametrize("kind", [FlowMidpoint, FireFlow])
def test_the_way_back_is_the_rule_from_data_to_noise(make, noise, kind):
    process = make(kind(4), **SHIFTED)
    back = process.along(process.trajectory.reversed())
    expected = run(process, noise, levels(4, SHIFTED)[::-1], kind is FireFlow)
    torch.testing.assert_close(back.generate(noise), expected, rtol=1e-5, atol=1e-5)


class Exponential(Denoiser):
    """The flow ``v = 3 sigma^2 x``, which takes x at level 1 to ``x / e``."""

    def _predict(self, point, time, prompt):
        return 3 * (time / 1000).to(point).view(-1, 1, 1, 1) ** 2 * point


@pytest.mark.parametrize(("kind", "order"), [(FlowEuler, 1), (FlowMidpoint, 2), (FireFlow, 2)])
def test_order(noise, condition, kind, order):
    guidance = Guidance(Exponential(), 1.0)
    samples = [Process(kind(steps).trajectory({}), guidance, condition).generate(noise) for steps in (20, 40)]
    errors = [(sample - noise / math.e).norm() for sample in samples]
    assert torch.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("kind", [FlowMidpoint, FireFlow])
def test_a_step_hands_on_its_output(make, noise, kind):
    first, second = list(make(kind(3)).walk(noise))[:2]
    assert torch.equal(first.handed_on, first.output)
    assert not torch.equal(second.handed_on, first.output)
