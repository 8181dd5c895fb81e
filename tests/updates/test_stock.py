import pytest
import torch
from torch import nn

from decinv.updates import ForwardStep
from decinv.updates.stock import StockRule, as_rule

OPTIMIZERS = {
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1),
    "SGD with momentum": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda params: torch.optim.Adam(params, lr=0.1),
    "AMSGrad": lambda params: torch.optim.Adam(params, lr=0.1, amsgrad=True),
    "AdamW": lambda params: torch.optim.AdamW(params, lr=0.1),
    "NAdam": lambda params: torch.optim.NAdam(params, lr=0.1),
    "RAdam": lambda params: torch.optim.RAdam(params, lr=0.1),
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=0.1, momentum=0.5, centered=True),
    "Adagrad": lambda params: torch.optim.Adagrad(params, lr=0.1, initial_accumulator_value=0.01),
    "Adadelta": lambda params: torch.optim.Adadelta(params),
    "Adamax": lambda params: torch.optim.Adamax(params, lr=0.1),
    "Rprop": lambda params: torch.optim.Rprop(params, lr=0.1),
    "ASGD": lambda params: torch.optim.ASGD(params, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_are_independent(assert_rows_independent, name: str) -> None:
    """A sample alone equals the sample among mates that leave at other times; 1e-6 is a few units in the last place."""
    assert_rows_independent(lambda params: as_rule(OPTIMIZERS[name](params)), atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_steps_as_the_optimizer_alone_and_starts_anew_with_each_chunk(name: str) -> None:
    parameter = nn.Parameter(torch.empty(0))
    rule = as_rule(OPTIMIZERS[name]([parameter]))
    for seed, shape in ((0, (2, 3)), (1, (4, 5))):
        first = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        other = nn.Parameter(first.clone())
        optimizer = OPTIMIZERS[name]([other])
        parameter.grad = None
        parameter.data = first.clone()
        rule.reset(6)
        for _ in range(6):
            parameter.grad = parameter.detach() * 0.5 + 0.1
            other.grad = other.detach() * 0.5 + 0.1
            rule.step()
            optimizer.step()
        assert torch.equal(parameter, other)


def test_state_without_rows_is_refused() -> None:
    parameter = nn.Parameter(torch.zeros(3, 2))
    rule = StockRule(torch.optim.SGD([parameter], lr=1.0))
    rule.state[parameter]["factors"] = torch.zeros(7)
    with pytest.raises(ValueError, match=r"one row a sample, but SGD's 'factors' has shape \(7,\)"):
        rule.select(torch.tensor([0]))


@pytest.mark.parametrize("kind", [torch.optim.LBFGS, torch.optim.Adafactor])
def test_optimizers_that_mix_samples_are_refused(kind: type[torch.optim.Optimizer]) -> None:
    with pytest.raises(ValueError, match=f"each sample on its own, but got {kind.__name__}"):
        as_rule(kind([nn.Parameter(torch.zeros(2, 3))]))


def test_an_optimizer_of_sparse_gradients_is_refused() -> None:
    with pytest.raises(ValueError, match="dense gradients, but got SparseAdam"):
        as_rule(torch.optim.SparseAdam([nn.Parameter(torch.zeros(2, 3))]))


def test_state_before_the_first_step_is_refused() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    optimizer.state[parameter]["momentum_buffer"] = torch.zeros(2)
    with pytest.raises(ValueError, match="without state before its first step, but SGD has some"):
        as_rule(optimizer)


def test_our_own_rules_are_left_alone() -> None:
    rule = ForwardStep([nn.Parameter(torch.zeros(2))])
    assert as_rule(rule) is rule


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_continues_from_its_state(assert_continues, name: str) -> None:
    assert_continues(lambda params: as_rule(OPTIMIZERS[name](params)))


def test_loading_keeps_the_optimizer_s_groups_and_state_shared() -> None:
    parameter = nn.Parameter(torch.ones(2, 3))
    rule = StockRule(torch.optim.Adam([parameter], lr=0.1))
    parameter.grad = torch.ones_like(parameter)
    rule.step()
    rule.load_state_dict(rule.state_dict())
    assert rule.state is rule.inner.state
    assert rule.param_groups is rule.inner.param_groups
    assert rule.name == "Adam"


class Remembering(torch.optim.Optimizer):
    """Keep the last gradient somewhere."""

    def __init__(self, params, where: str) -> None:
        super().__init__(params, {"lr": 1.0})
        self.where = where
        self.hidden: object = None

    def step(self, closure: object = None) -> None:
        point = self.param_groups[0]["params"][0]
        last = point.grad.clone()
        if self.where == "state":
            self.state[point]["last"] = last
        elif self.where == "list":
            self.state[point]["several"] = [last]
        else:
            self.hidden = {"last": last}


@pytest.mark.parametrize(("where", "name"), [("attribute", "hidden"), ("list", "several"), ("state", None)])
def test_own_optimizers_remember_tensors_where_rows_can_be_dropped(where: str, name: str | None) -> None:
    """Else a sample would go on with what was remembered of another one, or of the chunk before."""
    parameter = nn.Parameter(torch.zeros(3, 2))
    rule = as_rule(Remembering([parameter], where))
    parameter.grad = torch.ones(3, 2)
    if name is None:
        rule.step()
        rule.select(torch.tensor([0, 2]))
        assert rule.state[parameter]["last"].shape == (2, 2)
        return
    with pytest.raises(ValueError, match=rf"Remembering to remember tensors in `state\[parameter\]` alone, .* but got {name};"):
        rule.step()
