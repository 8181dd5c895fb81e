"""The inversions of samplers that the benchmark compares, as data."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from decinv.methods import (
    Algorithm1,
    Algorithm2,
    ExactInversion,
    GuidedNewton,
    GuidedNewtonReleased,
    Method,
    NaiveInversion,
    Stepwise,
)
from decinv.methods.published import THRESHOLD
from decinv.updates import AveragedForwardStep, ForwardStep, ResidualAnderson

OURS = "ours"
"""The default of the package."""


def is_ours(name: str) -> bool:
    """Whether a method of a name is the package's own; those with another tolerance say it behind a comma."""
    return name.split(",")[0] == OURS


PUBLISHED_VALUES = 4 * 64 * 64
"""Values of a latent of Stable Diffusion at 512 px, for which the threshold of the published algorithms was chosen."""


@dataclass(frozen=True)
class Contender:
    """A method that takes part.

    Attributes:
        name: What tables and figures call it.
        method: The method.
        first_order: Whether it can invert samplers of first order.
        multistep: Whether it can invert samplers whose steps depend on those before.
    """

    name: str
    method: Method
    first_order: bool = True
    multistep: bool = False

    def inverts(self, multistep: bool) -> bool:
        """Whether it can invert samplers of this kind."""
        return self.multistep if multistep else self.first_order


def contenders(values: int, fine: int, most: int, rtols: Sequence[float]) -> list[Contender]:
    """Give all methods, in the order of the tables.

    Args:
        values: Values of a latent, to whose root the threshold of a published algorithm is scaled where its name says so.
        fine: Steps of the finer grid of naive inversion.
        most: Largest number of iterations of the published algorithms for each step.
        rtols: Tolerances with which ours takes part beside its default.
    """
    scaled = THRESHOLD * (values / PUBLISHED_VALUES) ** 0.5
    iterated = partial(Stepwise, rtol=0.0, patience=None, last_iterate=True, extrapolate=False)
    return [
        Contender("naive", NaiveInversion(), multistep=True),
        Contender(f"naive, {fine} steps", NaiveInversion(fine), multistep=True),
        Contender("AIDI", iterated(ForwardStep, 11)),
        Contender("AIDI, Anderson", iterated(partial(ResidualAnderson, history=5), 11)),
        Contender("ReNoise", iterated(partial(AveragedForwardStep, first=2), 9)),
        Contender("GNRI, published", GuidedNewton()),
        Contender("GNRI, released", GuidedNewtonReleased()),
        Contender("Algorithm 1", Algorithm1(max_iters=most)),
        Contender("Algorithm 1, scaled", Algorithm1(max_iters=most, tolerance=scaled)),
        Contender("Algorithm 1, gradient", Algorithm1(max_iters=most, gradient=True)),
        Contender("Algorithm 2", Algorithm2(max_iters=most), first_order=False, multistep=True),
        Contender("Algorithm 2, scaled", Algorithm2(max_iters=most, tolerance=scaled), first_order=False, multistep=True),
        *(Contender(f"{OURS}, rtol {rtol:g}", ExactInversion(rtol=rtol), multistep=True) for rtol in rtols),
        Contender(OURS, ExactInversion(), multistep=True),
    ]
