"""Samplers on normal data, where the probability-flow equation has a closed solution."""

from math import log2

import pytest
import torch

from decinv.diffusion import DDIM, Condition, DPMSolver, Euler, FlowEuler, GaussianDenoiser, Guidance, Process, Prompt

MEAN, DEVIATION = 0.3, 0.5


def error(sampler, config):
    """Give the distance between a sampler's end and the true flow's."""
    trajectory = sampler.trajectory(config)
    guidance = Guidance(GaussianDenoiser(config, DEVIATION))
    noise = torch.tensor([-1.5, 0.2, 2.0]).view(1, 3, 1, 1)
    start, end = trajectory.steps[0].start, trajectory.steps[-1].end
    widths = [(level.alpha**2 * DEVIATION**2 + level.sigma**2) ** 0.5 for level in (start, end)]
    truth = end.alpha * MEAN + widths[1] / widths[0] * (noise * trajectory.start - start.alpha * MEAN)
    found = Process(trajectory, guidance, Condition(Prompt(torch.full((1, 1, 1, 1), MEAN)))).generate(noise)
    return float((found - truth).norm())


@pytest.mark.parametrize(
    ("make", "order"),
    [
        (lambda n: DDIM(n, "trailing"), 1),
        (lambda n: DPMSolver(n, 1), 1),
        (lambda n: DPMSolver(n, 2), 2),
        (lambda n: Euler(n), 1),
    ],
    ids=["ddim", "dpm1", "dpm2", "euler"],
)
def test_observed_order(config, make, order):
    options = config | {"final_sigmas_type": "sigma_min", "lower_order_final": False, "use_karras_sigmas": order == 2}
    coarse, fine = (error(make(count), options) for count in (25, 100))
    assert log2(coarse / fine) / 2 == pytest.approx(order, abs=0.35)


def test_flow_is_of_first_order():
    config = {"prediction_type": "flow_prediction"}
    coarse, fine = (error(FlowEuler(count), config) for count in (25, 100))
    assert log2(coarse / fine) / 2 == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_what_the_network_predicts_makes_no_difference(config, prediction, noise, condition, deviation):
    def run(kind):
        options = config | {"prediction_type": kind}
        guidance = Guidance(GaussianDenoiser(options, deviation), 3)
        return Process(DPMSolver(8).trajectory(options), guidance, condition).generate(noise)

    torch.testing.assert_close(run(prediction), run("epsilon"), rtol=1e-3, atol=1e-3)


def test_walk_gives_every_point_and_its_predictions(config, noise, condition, deviation):
    trajectory = DDIM(5).trajectory(config)
    process = Process(trajectory, Guidance(GaussianDenoiser(config, deviation)), condition)
    visited = list(process.walk(noise))
    assert process.spent.tolist() == [5, 5]
    torch.testing.assert_close(visited[0].point, noise)
    for step, here, after in zip(trajectory.steps, visited, visited[1:], strict=False):
        torch.testing.assert_close(here.following, after.point)
        torch.testing.assert_close(here.following, step(here.point, here.output))
        noised = step.start.alpha * here.handed_on + step.start.sigma * step.eps(here.point, here.output)
        torch.testing.assert_close(noised, here.point)
