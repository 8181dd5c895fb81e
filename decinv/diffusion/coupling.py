"""What makes a sampler of pairs of points, which can be run backwards exactly, out of first-order steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from decinv.diffusion.step import Step

Pair = tuple[Tensor, Tensor]

Predict = Callable[[Step, Tensor], Tensor]
"""Gives the network's output at points ``(B, C, h, w)`` from which a step begins."""


class Coupling(ABC):
    """How two points go along the steps of a trajectory together, and back again in closed form.

    Both points are kept in float64, since rounding errors grow on the way back.
    """

    @abstractmethod
    def generate(self, steps: Sequence[Step], predict: Predict, point: Tensor) -> Pair:
        """Go from the first point ``(B, C, h, w)`` to a pair of scaled latents, the first of which is the image's."""

    @abstractmethod
    def invert(self, steps: Sequence[Step], predict: Predict, pair: Pair) -> Tensor:
        """Go from the pair back to the first point."""

    @abstractmethod
    def complete(self, steps: Sequence[Step], predict: Predict, latent: Tensor) -> Pair:
        """Give a pair for scaled latents of images of which no other point is known; the way back from it is not exact."""
