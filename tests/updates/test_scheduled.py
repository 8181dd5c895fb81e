import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
    StepLR,
)
from transformers import get_cosine_schedule_with_warmup

from decinv.problems.base import Evaluation
from decinv.updates import Anderson, ForwardStep, InertialKM, Scheduled, WarmupCosine
from decinv.updates.stock import as_rule

LR = 0.01


def paper_adam(params: list[nn.Parameter]) -> Scheduled:
    return Scheduled(
        params,
        lambda p: torch.optim.Adam(p, lr=LR),
        lambda optimizer: WarmupCosine(optimizer, hold_from=0.8, longest=100),
    )


def paper_rates(steps: int) -> list[float]:
    """Give the rates of the released code: N steps, Nc = min(N, 100), W = Nc // 10, lr = 0.01."""
    short = min(steps, 100)
    warmup = short // 10
    rates: list[float] = []
    for i in range(steps):
        if i < warmup:
            rates.append(LR * (i + 1) / warmup)
        elif 5 * i < 4 * short:
            rates.append(LR * (1 + math.cos(math.pi * (i - warmup) / (short - warmup))) / 2)
        else:
            rates.append(rates[-1])
    return rates


@pytest.mark.parametrize("steps", [20, 35, 50, 70, 100, 200])
def test_the_paper_s_adam_matches_its_formulas(linear, steps: int) -> None:
    problem = linear()
    points = problem.run(paper_adam, steps)
    z, m, v = problem.start, np.zeros_like(problem.start), np.zeros_like(problem.start)
    for i, rate in enumerate(paper_rates(steps)):
        np.testing.assert_allclose(points[i], z, rtol=0, atol=1e-12)
        gradient = problem.residual(z)
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        z = z - rate * (m / (1 - 0.9 ** (i + 1))) / (np.sqrt(v / (1 - 0.999 ** (i + 1))) + 1e-8)
    np.testing.assert_allclose(points[-1], z, rtol=0, atol=1e-12)


def rates_of(rule: Scheduled, steps: int) -> list[float]:
    rates = []
    parameter = rule.point
    rule.reset(steps)
    for _ in range(steps):
        rates.append(rule.param_groups[0]["lr"])
        parameter.grad = torch.ones_like(parameter)
        rule.step()
    return rates


@pytest.mark.parametrize("steps", [1, 9, 10, 20, 35, 50, 70, 99, 100, 200])
def test_the_paper_s_rates_for_any_number_of_steps(steps: int) -> None:
    assert rates_of(paper_adam([nn.Parameter(torch.zeros(1, 2))]), steps) == pytest.approx(paper_rates(steps), rel=1e-12)


def test_the_baseline_s_rates_end_near_zero() -> None:
    rule = Scheduled([nn.Parameter(torch.zeros(1, 2))], lambda p: torch.optim.Adam(p, lr=0.1), WarmupCosine)
    rates = rates_of(rule, 100)
    assert rates[:10] == pytest.approx([0.01 * (i + 1) for i in range(10)])
    assert rates[10:] == pytest.approx([0.05 * (1 + math.cos(math.pi * i / 90)) for i in range(90)])


@pytest.mark.parametrize("steps", [10, 30, 70, 100])
def test_the_published_baseline_s_rates_begin_at_zero(steps) -> None:
    rule = Scheduled(
        [nn.Parameter(torch.zeros(1, 2))], lambda p: torch.optim.Adam(p, lr=0.1), lambda o: WarmupCosine(o, from_zero=True)
    )
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=0.1)
    published = get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        published.step()
    assert rates_of(rule, steps) == pytest.approx(expected, abs=1e-15)


def test_given_steps_win_over_the_chunk_s() -> None:
    rule = Scheduled(
        [nn.Parameter(torch.zeros(1, 2))], lambda p: ForwardStep(p, 1.0), lambda o: WarmupCosine(o, steps=10, warmup=0.2)
    )
    rates = rates_of(rule, 12)
    expected = [0.5, 1.0, *(0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8))]
    assert rates[:10] == pytest.approx(expected)
    assert rates[10:] == pytest.approx([expected[-1]] * 2)


@pytest.mark.parametrize("rule", [ForwardStep, lambda p: torch.optim.SGD(p, lr=1.0), lambda p: InertialKM(p, 0.1, 0.2)])
@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (lambda o: ExponentialLR(o, 0.5), [1, 0.5, 0.25, 0.125]),
        (lambda o: StepLR(o, 2, 0.1), [1, 1, 0.1, 0.1]),
        (lambda o: LinearLR(o, 0.25, 1.0, 3), [0.25, 0.5, 0.75, 1]),
        (lambda o: CosineAnnealingLR(o, 4), [1, 0.5 + 0.25 * 2**0.5, 0.5, 0.5 - 0.25 * 2**0.5]),
        (lambda o: SequentialLR(o, [LinearLR(o, 0.5, 1.0, 1), ExponentialLR(o, 0.5)], [1]), [0.5, 1, 0.5, 0.25]),
    ],
)
def test_torch_s_schedules_start_anew_with_every_chunk(rule, schedule, factors: list[float]) -> None:
    scheduled = Scheduled([nn.Parameter(torch.zeros(2, 2))], rule, schedule)
    base = scheduled.param_groups[0]["lr"]
    for _ in range(3):
        assert rates_of(scheduled, 4) == pytest.approx([base * factor for factor in factors])


def test_a_schedule_that_also_moves_momentum_starts_anew() -> None:
    scheduled = Scheduled(
        [nn.Parameter(torch.zeros(2, 2))],
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda o: OneCycleLR(o, max_lr=1.0, total_steps=5),
    )
    assert rates_of(scheduled, 4) == rates_of(scheduled, 4)


def test_the_rate_reaches_the_update() -> None:
    parameter = nn.Parameter(torch.zeros(1, 1))
    rule = Scheduled([parameter], ForwardStep, lambda o: ExponentialLR(o, 0.5))
    assert rates_of(rule, 3) == [1, 0.5, 0.25]
    assert parameter.item() == -1.75
    assert rule.solution().item() == -1.75


def test_the_rule_s_demands_are_passed_on() -> None:
    first = Evaluation(torch.ones(1, 2), torch.tensor([0.9]), torch.full((1, 3, 1, 1), 0.1))
    rule = Anderson([nn.Parameter(torch.zeros(1, 2))])
    scheduled = Scheduled([nn.Parameter(torch.zeros(1, 2))], Anderson, lambda o: ExponentialLR(o, 0.5))
    assert scheduled.freedom == rule.freedom == 1
    assert torch.equal(scheduled.proof(first), rule.proof(first))
    assert rule.proof(first).isfinite().all()


def test_rows_are_independent(assert_rows_independent) -> None:
    assert_rows_independent(paper_adam, atol=1e-6)
    assert_rows_independent(lambda p: Scheduled(p, lambda q: InertialKM(q, 0.3, 0.2), WarmupCosine))


def test_optimizers_that_mix_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="but got LBFGS"):
        Scheduled([nn.Parameter(torch.zeros(1))], torch.optim.LBFGS, lambda o: ExponentialLR(o, 0.5))


def test_a_step_before_reset_says_so() -> None:
    with pytest.raises(RuntimeError, match="`reset` before the first step"):
        Scheduled([nn.Parameter(torch.zeros(1))], ForwardStep, lambda o: ExponentialLR(o, 0.5)).step()


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"warmup": 1.0}, {"warmup": -0.1}, {"hold_from": 0.0}, {"hold_from": 1.1}])
def test_shapes_out_of_range_are_refused(arguments) -> None:
    optimizer = as_rule(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0))
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        WarmupCosine(optimizer, **arguments)


SCHEDULED = {
    "paper's Adam": paper_adam,
    "inertial": lambda p: Scheduled(p, lambda q: InertialKM(q, 0.3, 0.2), WarmupCosine),
    "Anderson": lambda p: Scheduled(p, Anderson, lambda o: ExponentialLR(o, 0.9)),
    "one cycle": lambda p: Scheduled(
        p, lambda q: torch.optim.SGD(q, 0.1, 0.9), lambda o: OneCycleLR(o, max_lr=1.0, total_steps=20)
    ),
    "sequence": lambda p: Scheduled(
        p,
        lambda q: torch.optim.SGD(q, 0.1),
        lambda o: SequentialLR(o, [LinearLR(o, 0.5, 1.0, 3), CosineAnnealingLR(o, 10)], [3]),
    ),
    "steps": lambda p: Scheduled(p, ForwardStep, lambda o: MultiStepLR(o, [2, 6])),
    "function": lambda p: Scheduled(p, ForwardStep, lambda o: LambdaLR(o, lambda step: 0.9**step)),
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_it_continues_from_its_state(assert_continues, name: str) -> None:
    assert_continues(SCHEDULED[name])


def test_loading_keeps_the_rule_s_groups_and_the_next_chunk_starts_anew() -> None:
    rule = paper_adam([nn.Parameter(torch.zeros(1, 2))])
    rates = rates_of(rule, 20)
    state = rule.state_dict()
    other = paper_adam([nn.Parameter(torch.zeros(1, 2))])
    other.reset(20)
    other.load_state_dict(state)
    assert other.param_groups is other.rule.param_groups is other.rule.inner.param_groups
    assert rates_of(other, 20) == rates
    assert other.name == "Scheduled Adam"


def test_a_state_loaded_before_reset_is_no_error() -> None:
    """A trainer that restores its own checkpoint does that; the next chunk starts anew all the same."""
    rule = paper_adam([nn.Parameter(torch.zeros(1, 2))])
    rates = rates_of(rule, 20)
    other = paper_adam([nn.Parameter(torch.zeros(1, 2))])
    other.load_state_dict(rule.state_dict())
    assert rates_of(other, 20) == rates


def test_a_rule_without_a_rate_has_no_schedule() -> None:
    class Rateless(ForwardStep):
        def __init__(self, params) -> None:
            super().__init__(params)
            del self.param_groups[0]["lr"]

    with pytest.raises(ValueError, match="a rule with `lr` among its defaults to schedule, but Rateless has none"):
        Scheduled([nn.Parameter(torch.zeros(1, 2))], Rateless, WarmupCosine)
