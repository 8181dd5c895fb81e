"""The methods of decoder inversion that the benchmark compares, as data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.optim import Adam

from decinv.codecs.base import Codec
from decinv.problems.base import Problem
from decinv.problems.decoder import DecoderProblem, DescentProblem
from decinv.problems.gradient import GradientProblem
from decinv.updates.anderson import Anderson
from decinv.updates.base import UpdateFactory
from decinv.updates.forward import ForwardStep
from decinv.updates.inertial import InertialKM
from decinv.updates.scheduled import Scheduled, WarmupCosine


@dataclass(frozen=True)
class DecoderMethod:
    """One way to invert a decoder.

    Attributes:
        name: What tables and figures call it.
        problem: What is solved, made from codec and images ``(B, 3, H, W)``.
        rule: The update rule; ``None`` to report the start.
        scheduled: Whether a schedule spans the run, so that each number of iterations is a run of its own.
        gradient_steps: Iterations along gradients, beyond those of the run, for images that would end at their start.
    """

    name: str
    problem: Callable[[Codec, Tensor], Problem]
    rule: UpdateFactory | None
    scheduled: bool = False
    gradient_steps: int = 0

    def runs(self, marks: Sequence[int]) -> list[tuple[int, ...]]:
        """Give the runs that it takes to report after each number of iterations in ``marks``, each as its own marks."""
        if self.rule is None:
            return [(0,)]
        return [(mark,) for mark in marks] if self.scheduled or self.gradient_steps else [tuple(marks)]


def paper_adam(lr: float, steps: int | None = None) -> UpdateFactory:
    """Give the practical method of arXiv 2409.18442: Adam on the residual under the schedule of its released code.

    Args:
        lr: The rate before the schedule.
        steps: Steps that the schedule spans; by default those of the run, at most 100.
    """
    schedule = partial(WarmupCosine, steps=steps, hold_from=0.8, longest=100)
    return partial(Scheduled, rule=partial(Adam, lr=lr), schedule=schedule)


GRADIENT = "gradient Adam 0.1 cosine"
"""The strongest of the gradient-based methods that others use: times are given relative to it."""

PAPER = "paper Adam 0.01"
"""The published gradient-free method: evaluations are given relative to it."""

DEFAULT = "Anderson"
"""The gradient-free method that the package uses by default."""

MAP = "Anderson, prior 1"
"""The same with a prior around the start, for distorted images."""

SQUARES = "Anderson, squares"
"""The same, mixed by means over squares of 3 x 3 pixels, in less memory."""

DESCENDED = "Anderson, 10 gradient steps"
"""The same, with gradient steps for the images that it leaves at the encoder's latent."""

METHODS = (
    DecoderMethod("encoder", DecoderProblem, None),
    DecoderMethod(
        GRADIENT, GradientProblem, partial(Scheduled, rule=partial(Adam, lr=0.1), schedule=WarmupCosine), scheduled=True
    ),
    DecoderMethod("gradient Adam 0.01", GradientProblem, partial(Adam, lr=0.01)),
    DecoderMethod("gradient Anderson", DescentProblem, partial(Anderson, probe=0.0)),
    DecoderMethod(PAPER, DecoderProblem, paper_adam(0.01), scheduled=True),
    DecoderMethod("forward step 0.001", DecoderProblem, partial(ForwardStep, lr=0.001)),
    DecoderMethod("forward step 1", DecoderProblem, partial(ForwardStep, lr=1.0)),
    DecoderMethod("inertial KM 0.9, 0.001", DecoderProblem, partial(InertialKM, lr=0.001, momentum=0.9)),
    DecoderMethod(SQUARES, DecoderProblem, partial(Anderson, pool=3, history=16)),
    DecoderMethod(DEFAULT, DecoderProblem, Anderson),
)
"""The methods that are compared on images that D made, in the order of the tables."""

_OPTIONS = (
    DecoderMethod(MAP, DecoderProblem, partial(Anderson, prior=1.0)),
    DecoderMethod(DESCENDED, DecoderProblem, Anderson, gradient_steps=10),
)

BY_NAME = {method.name: method for method in (*METHODS, *_OPTIONS)}
"""All methods by name."""


def iterations_of(name: str, ours: int, others: int) -> int:
    """Give how many iterations a method by name has where the package's own have ``ours``, and the encoder has none."""
    return ours if is_ours(name) else {"encoder": 0}.get(name, others)


def is_ours(name: str) -> bool:
    """Whether a method by name is the package's own."""
    return name in (DEFAULT, MAP, SQUARES, DESCENDED)
