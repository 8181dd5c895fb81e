"""Samplers that can be run backwards exactly, if a pair of points is kept instead of one latent."""

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor

from decinv.diffusion.process import Process
from decinv.diffusion.step import Step

Pair = tuple[Tensor, Tensor]


class InvertibleSampler(ABC):
    """A sampler whose state is a pair of points, and which has an inverse in closed form.

    Points are kept in float64, since rounding errors grow on the way back. Its latents are not those of DDIM.
    """

    @abstractmethod
    def generate(self, process: Process, noise: Tensor) -> Pair:
        """Go from standard normal noise ``(B, C, h, w)`` to a pair of scaled latents, the first of which is the image's."""

    @abstractmethod
    def invert(self, process: Process, pair: Pair) -> Tensor:
        """Go from the pair back to the noise."""


class EDICT(InvertibleSampler):
    """Two coupled trajectories, each stepped with the noise predicted at the other (Wallace et al., arXiv 2211.12446)."""

    def __init__(self, mixing: float = 0.93) -> None:
        """Set the coupling.

        Args:
            mixing: Weight p of a trajectory's own point when both are averaged after a step, in (0, 1].

        Raises:
            ValueError: If ``mixing`` is out of range.
        """
        if not 0 < mixing <= 1:
            raise ValueError(f"Expected `mixing` in (0, 1], but got {mixing}.")
        self.mixing = mixing

    @torch.no_grad()
    def generate(self, process: Process, noise: Tensor) -> Pair:
        """Step both trajectories, and average."""
        p, x = self.mixing, noise.double() * process.trajectory.start
        y = x
        for step in _plain(process):
            x = _ahead(process, step, x, y)
            y = _ahead(process, step, y, x)
            x = p * x + (1 - p) * y
            y = p * y + (1 - p) * x
        return x, y

    @torch.no_grad()
    def invert(self, process: Process, pair: Pair) -> Tensor:
        """Undo each step in reverse order."""
        p, (x, y) = self.mixing, pair
        for step in reversed(_plain(process)):
            y = (y - (1 - p) * x) / p
            x = (x - (1 - p) * y) / p
            y = _behind(process, step, y, x)
            x = _behind(process, step, x, y)
        return (x / process.trajectory.start).float()


class BDIA(InvertibleSampler):
    """Bi-directional integration: each step averages the way from two points back (Zhang et al., arXiv 2307.10829).

    With x_r, x_s, x_t three points that follow each other,
    ``x_t = gamma (x_r - back(x_s)) + ahead(x_s)``, where ``back`` is DDIM's step from x_s to the level of x_r.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        """Set the weight.

        Args:
            gamma: Weight of the point two steps back, in (0, 1].

        Raises:
            ValueError: If ``gamma`` is out of range.
        """
        if not 0 < gamma <= 1:
            raise ValueError(f"Expected `gamma` in (0, 1], but got {gamma}.")
        self.gamma = gamma

    @torch.no_grad()
    def generate(self, process: Process, noise: Tensor) -> Pair:
        """Take one DDIM step, and then steps with two points each; give the last point and the one before."""
        steps = _plain(process)
        before, here = (point := noise.double() * process.trajectory.start), _ahead(process, steps[0], point, point)
        for earlier, step in pairwise(steps):
            ahead, back = self._both(process, earlier, step, here)
            before, here = here, self.gamma * (before - back) + ahead
        return here, before

    @torch.no_grad()
    def invert(self, process: Process, pair: Pair) -> Tensor:
        """Undo each step in reverse order."""
        steps = _plain(process)
        after, here = pair
        for earlier, step in zip(reversed(steps[:-1]), reversed(steps[1:]), strict=True):
            ahead, back = self._both(process, earlier, step, here)
            after, here = here, (after - ahead) / self.gamma + back
        return (here / process.trajectory.start).float()

    def _both(self, process: Process, earlier: Step, step: Step, point: Tensor) -> Pair:
        """Give DDIM's next point, and its previous one, both with the noise predicted here."""
        output = process.predict(step, point.float()).double()
        return step(point, output), earlier.back(point, step.eps(point, output))


def _plain(process: Process) -> tuple[Step, ...]:
    """Give the steps as those of DDIM.

    Raises:
        ValueError: If they add noise.
    """
    if any(step.noise for step in process.steps):
        raise ValueError("Expected a sampler without noise in its steps, but got an ancestral one.")
    return tuple(step.plain for step in process.steps)


def _ahead(process: Process, step: Step, point: Tensor, other: Tensor) -> Tensor:
    """Step from a point with the noise predicted at another."""
    eps = step.eps(other, process.predict(step, other.float()).double())
    ratio = step.end.alpha / step.start.alpha
    return ratio * point + (step.end.sigma - ratio * step.start.sigma) * eps


def _behind(process: Process, step: Step, point: Tensor, other: Tensor) -> Tensor:
    """Undo ``_ahead``."""
    return step.back(point, step.eps(other, process.predict(step, other.float()).double()))
