"""Samplers that keep the network's output for several steps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from decinv.diffusion.sampler import Sampler, Trajectory
from decinv.diffusion.step import Step
from decinv.ranges import refuse_below


class Cached(Sampler):
    """Another sampler, whose network is asked only in every k-th step; the steps between take its last output again.

    It is an approximation of that sampler at a k-th of the cost, and a sampler of its own: the k steps that share an output are
    one map of a point and the network's output there, so it is inverted like any other, and as exactly. Where the
    network predicts noise or a flow, it is DDIM, or Euler's method, on every k-th point of the grid.

    Within an inversion there is nothing else to keep: no method asks the network twice for the same point.
    """

    def __init__(self, sampler: Sampler, every: int = 2) -> None:
        """Set how long an output is kept.

        Args:
            sampler: The sampler, of first order and without noise in its steps.
            every: Steps k that share an output, at least 1; the last ones may be fewer.

        Raises:
            ValueError: If ``every`` is below 1.
        """
        refuse_below(1, every=every)
        super().__init__(-(-sampler.steps // every), sampler.spacing)
        self.sampler = sampler
        self.every = every

    def scheduler(self, config: Mapping[str, Any], tokens: int | None = None) -> Any:
        """Make the diffusers scheduler of the other sampler."""
        return self.sampler.scheduler(config, tokens)

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Put the other sampler's steps together.

        Raises:
            ValueError: If they have a history or add noise, or points go along them in pairs.
        """
        single = self.sampler.trajectory(config, tokens)
        single.refuse_pairs()
        if any(step.history or step.noise for step in single.steps):
            raise ValueError(
                "Expected a sampler of first order without noise in its steps for Cached, but got "
                f"{type(self.sampler).__name__}; use DDIM, Euler or FlowEuler."
            )
        groups = (single.steps[first : first + self.every] for first in range(0, len(single.steps), self.every))
        return replace(single, steps=tuple(_joined(group) for group in groups))


def _joined(steps: Sequence[Step]) -> Step:
    """Take steps one after another, all with the network's output at the first point."""
    first, last = steps[0], steps[-1]
    point, output = 1.0, 0.0
    for step in steps:
        point, output = step.point * point, step.point * output + step.output
    landing, scale = last.landing, last.landing_scale
    return replace(first, end=last.end, point=point, output=output, landing=landing, landing_scale=scale)
