import warnings

import numpy as np
import pytest
import torch
from torch import nn

from decinv.updates import InertialKM


def test_it_matches_the_recurrence(linear) -> None:
    problem = linear()
    lr, alpha = 0.4, 0.2
    points = problem.run(lambda params: InertialKM(params, lr, alpha), 12)
    previous = current = problem.start
    for point in points:
        extrapolated = current + alpha * (current - previous)
        np.testing.assert_allclose(point, extrapolated, rtol=0, atol=1e-13)
        previous, current = current, extrapolated - lr * problem.residual(extrapolated)
    np.testing.assert_allclose(problem.rule.solution().numpy(), previous, rtol=0, atol=1e-13)


def test_without_inertia_it_is_the_forward_step(linear) -> None:
    problem = linear()
    points = problem.run(lambda params: InertialKM(params, 0.6, 0.0), 5)
    expected = problem.start
    for point in points:
        np.testing.assert_allclose(point, expected, rtol=0, atol=1e-13)
        expected = expected - 0.6 * problem.residual(expected)


def test_the_smallest_residual_decays_where_theorem_2_holds(linear) -> None:
    problem = linear(eigenvalues=(0.25, 0.5, 1.0))  # T is 1-cocoercive: beta = 1 / max a
    points = problem.run(lambda params: InertialKM(params, lr=0.5, momentum=0.4, beta=1.0), 200)
    assert np.abs(problem.residual(points[-1])).max() < 1e-8


@pytest.mark.parametrize("momentum", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("beta", [0.086, 0.5, 2.0])
def test_the_warning_fires_exactly_where_the_condition_fails(momentum: float, beta: float) -> None:
    bound = (1 - momentum) ** 2 / (1 - momentum + 2 * momentum**2)  # of lambda = lr / (2 beta)
    parameter = nn.Parameter(torch.zeros(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InertialKM([parameter], 2 * beta * bound * 0.999, momentum, beta)
    with pytest.warns(UserWarning, match=r"Theorem 2 .* lambda \(1 - alpha \+ 2 alpha\^2\) < \(1 - alpha\)\^2"):
        InertialKM([parameter], 2 * beta * bound * 1.001, momentum, beta)


def test_the_warning_names_the_numbers_and_the_remedy() -> None:
    with pytest.warns(UserWarning, match=r"lr = 1, momentum \(alpha\) = 0.5 and beta = 0.5.*lower `lr` below 0.25"):
        InertialKM([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.5, beta=0.5)


def test_the_paper_s_setting_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rule = InertialKM([nn.Parameter(torch.zeros(1))])
    assert rule.param_groups[0]["lr"] == 0.001
    assert rule.param_groups[0]["momentum"] == 0.9


def test_rows_are_independent(assert_rows_independent) -> None:
    assert_rows_independent(lambda params: InertialKM(params, 0.3, 0.3))


@pytest.mark.parametrize("arguments", [{"lr": 0.0}, {"beta": 0.0}, {"momentum": 1.0}, {"momentum": -0.1}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        InertialKM([nn.Parameter(torch.zeros(1))], **arguments)


def test_it_continues_from_its_state(assert_continues) -> None:
    assert_continues(lambda params: InertialKM(params, lr=0.2, momentum=0.3))
