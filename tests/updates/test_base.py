import pytest
import torch
from torch import nn

from decinv.codecs import LinearCodec
from decinv.problems import DecoderProblem
from decinv.problems.base import Evaluation
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates import Anderson, AveragedForwardStep, ForwardStep, InertialKM, PlateauForwardStep, Scheduled, WarmupCosine
from decinv.updates.base import UpdateRule
from decinv.updates.stock import as_rule


def test_one_parameter_only() -> None:
    parameters = [nn.Parameter(torch.zeros(1, 2)), nn.Parameter(torch.zeros(1, 2))]
    with pytest.raises(ValueError, match="one parameter that holds the latents, but got 2"):
        ForwardStep(parameters)
    with pytest.raises(ValueError, match="but got 2"):
        as_rule(torch.optim.SGD([{"params": [parameters[0]]}, {"params": [parameters[1]]}], lr=1.0))


@pytest.mark.parametrize(
    ("rule", "option"),
    [
        *((Anderson, name) for name in ("lr", "pull", "prior", "decay", "ridge", "pixel_weight", "latent_weight", "trust")),
        *((InertialKM, name) for name in ("lr", "momentum", "beta")),
        *((PlateauForwardStep, name) for name in ("lr", "threshold", "factor")),
        (ForwardStep, "lr"),
        (AveragedForwardStep, "lr"),
    ],
)
def test_options_that_are_no_numbers_are_refused(rule: type[UpdateRule], option: str) -> None:
    with pytest.raises(ValueError, match=rf"Expected.*`{option}`.*\bnan\b"):
        rule([nn.Parameter(torch.zeros(1, 2))], **{option: torch.nan})


def test_a_step_without_residual_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"residual in `.grad` before a step, but it is None"):
        ForwardStep([nn.Parameter(torch.zeros(1, 2))]).step()


def test_a_closure_runs_first_and_gives_the_loss() -> None:
    parameter = nn.Parameter(torch.ones(1, 2))
    rule = ForwardStep([parameter])

    def closure() -> torch.Tensor:
        loss = parameter.square().sum() / 2
        loss.backward()
        return loss

    assert rule.step(closure) == 1
    assert parameter.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "factory",
    [
        ForwardStep,
        lambda params: InertialKM(params, lr=0.1, momentum=0.3),
        Anderson,
        lambda params: as_rule(torch.optim.Adam(params, lr=0.1)),
        lambda params: Scheduled(params, ForwardStep, lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0)),
    ],
)
def test_autocast_does_not_round_an_update(factory) -> None:
    results = []
    for enabled in (False, True):
        parameter = nn.Parameter(torch.linspace(0.1, 0.9, 12).view(2, 6))
        rule = factory([parameter])
        rule.reset(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for _ in range(5):
                parameter.grad = (parameter.detach() - 0.37) * torch.linspace(0.3, 1.3, 6)
                rule.observe(Evaluation(parameter.grad, parameter.grad.norm(dim=1), 0.7 * parameter.grad))
                rule.step()
        results.append(parameter.detach().clone())
    assert torch.equal(*results)


class Forgetful(ForwardStep):
    """Keep the last residual, and leave it out of the state."""

    last: torch.Tensor | None = None

    def update(self) -> None:
        self.last = self.residual.clone()
        super().update()


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_chunk_is_not_stored_without_what_its_rule_remembers(images, scheduled: bool) -> None:
    point = nn.Parameter(torch.empty(0))
    rule = Scheduled([point], Forgetful, WarmupCosine) if scheduled else Forgetful([point])
    solver = Solver(point, rule, Stopping(max_iters=5, rtol=0.0))
    solver.start(DecoderProblem(LinearCodec(), images(2)))
    solver.state_dict()  # nothing is remembered yet
    solver.step()
    with pytest.raises(ValueError, match="`state_dict` of Forgetful to hold its tensors, but it lacks last"):
        solver.state_dict()
