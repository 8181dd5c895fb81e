"""The update rules and learning rates that the benchmark of rules compares, as data."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from torch import nn

from decinv.benchmark.measuring.methods import DecoderMethod, paper_adam
from decinv.problems.decoder import DecoderProblem
from decinv.updates.anderson import Anderson
from decinv.updates.base import UpdateFactory
from decinv.updates.forward import ForwardStep
from decinv.updates.inertial import InertialKM


@dataclass(frozen=True)
class Rule:
    """An update rule with its settings.

    Attributes:
        family: What kind of rule it is.
        setting: What tells it from the others of its family.
        update: The rule; ``None`` to report the start.
        scheduled: Whether a schedule spans the run, so that each number of evaluations is a run of its own.
    """

    family: str
    setting: str
    update: UpdateFactory | None
    scheduled: bool = False

    @property
    def method(self) -> DecoderMethod:
        """The rule as a method of decoder inversion."""
        return DecoderMethod(f"{self.family} {self.setting}".strip(), DecoderProblem, self.update, self.scheduled)


def _inertial_km(params: Iterable[nn.Parameter], lr: float, momentum: float) -> InertialKM:
    """Make the rule without its warning: settings that Theorem 2 does not cover are measured on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Theorem 2", UserWarning)
        return InertialKM(params, lr, momentum)


def _forward(rho: float, note: str = "") -> Rule:
    return Rule("forward step", f"rho {rho:g}{note}", partial(ForwardStep, lr=rho))


def _km(alpha: float, step: float, note: str = "") -> Rule:
    return Rule("inertial KM", f"alpha {alpha:g}, step {step:g}{note}", partial(_inertial_km, lr=step, momentum=alpha))


def _adam(lr: float, note: str = "") -> Rule:
    return Rule("Adam", f"lr {lr:g}{note}", paper_adam(lr), scheduled=True)


ENCODER = Rule("encoder", "", None)

DEFAULT_RULE = Rule("Anderson", "default", Anderson)

RULES = (
    ENCODER,
    _forward(0.001, " (paper)"),
    _forward(0.01),
    _forward(0.1),
    _forward(0.5),
    _forward(1.0),
    _km(0.9, 0.001, " (paper)"),
    _km(0.9, 0.01),
    _km(0.9, 0.1),
    _km(0.5, 1.0),
    _adam(0.001),
    _adam(0.01, " (paper)"),
    _adam(0.1),
    Rule("Anderson", "latent residual alone", partial(Anderson, history=5, pull=0.0, pixel_weight=0.0)),
    DEFAULT_RULE,
)
"""All rules, in the order of the tables; the step of inertial KM is 2 lambda beta."""
