"""Samplers of flows that ask the network halfway through each interval, and so are of second order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from decinv.diffusion.flow import FlowEuler
from decinv.diffusion.prediction import flow, flow_level
from decinv.diffusion.sampler import Trajectory
from decinv.diffusion.step import Step, predicted_step


class Move(NamedTuple):
    """``x' = x + output v + before v_r``, v the velocity at x and v_r that at the point before.

    Attributes:
        start: Level sigma of x.
        end: Level of x'.
        output: Coefficient of v.
        before: Coefficient of v_r.
    """

    start: float
    end: float
    output: float
    before: float = 0.0


class FlowMidpoint(FlowEuler):
    """The midpoint rule for flow matching, known as RF-Solver (Wang et al., arXiv 2411.04746).

    From x at level sigma to level sigma + h::

        x_m = x + h/2 v(x, sigma),    x' = x + h v(x_m, sigma + h/2)

    RF-Solver writes it as a Taylor expansion whose derivative is the difference quotient of the two velocities. Each asking of
    the network is a step here, so an interval has two; the second one takes back half of what the first one added, of which it
    has the velocity as its history. ``NaiveInversion`` of it is RF-Solver's inversion: the same rule from data to noise.
    """

    def __init__(self, steps: int = 25) -> None:
        """Set the grid: ``sigma = 1, 1 - 1/N, ..., 1/N``, shifted as the scheduler's config says.

        Args:
            steps: Number of intervals N, at least 1, each of two predictions.
        """
        super().__init__(steps)

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the levels off the scheduler; see ``FlowEuler``."""
        return _there_and_back(super().trajectory(config, tokens), _midpoint)


class FireFlow(FlowEuler):
    """The midpoint rule with the velocity at the last midpoint in place of that at x (Deng et al., arXiv 2412.07517).

    From ``x_k`` at level ``sigma_k`` to ``sigma_k + h_k``::

        y_k = x_k + h_k/2 u_{k-1},    u_k = v(y_k, sigma_k + h_k/2),    x_{k+1} = x_k + h_k u_k

    with ``u_{-1} = v(x_0, sigma_0)``. So N intervals take N + 1 predictions. Its steps begin at ``x_0, y_0, y_1, ...``::

        y_{k+1} = y_k - h_k/2 u_{k-1} + (h_k + h_{k+1}/2) u_k

    ``NaiveInversion`` of it is FireFlow's inversion: the same rule from data to noise.
    """

    def __init__(self, steps: int = 25) -> None:
        """Set the grid: ``sigma = 1, 1 - 1/N, ..., 1/N``, shifted as the scheduler's config says.

        Args:
            steps: Number of intervals N, at least 1.
        """
        super().__init__(steps)

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the levels off the scheduler; see ``FlowEuler``."""
        return _there_and_back(super().trajectory(config, tokens), _fireflow)


def _midpoint(sigmas: Sequence[float]) -> list[Move]:
    """Give the moves of the midpoint rule along levels, two for each interval."""
    moves = []
    for start, end in pairwise(sigmas):
        middle, length = (start + end) / 2, end - start
        moves += [Move(start, middle, length / 2), Move(middle, end, length, -length / 2)]
    return moves


def _fireflow(sigmas: Sequence[float]) -> list[Move]:
    """Give the moves of FireFlow along levels, from the first one to each midpoint and to the last one."""
    levels = [sigmas[0], *((start + end) / 2 for start, end in pairwise(sigmas)), sigmas[-1]]
    lengths = [0.0, *(end - start for start, end in pairwise(sigmas)), 0.0]
    return [
        Move(start, end, here + following / 2, -here / 2)
        for (start, end), (here, following) in zip(pairwise(levels), pairwise(lengths), strict=True)
    ]


def _there_and_back(single: Trajectory, moves: Callable[[Sequence[float]], list[Move]]) -> Trajectory:
    """Follow other moves along the levels of Euler's steps, and the same ones from data to noise."""
    first, last = single.steps[0], single.steps[-1]
    sigmas = [*(step.start.sigma for step in single.steps), last.end.sigma]
    time = first.time / first.start.sigma
    there, back = (tuple(_step(move, time) for move in moves(way)) for way in (sigmas, sigmas[::-1]))
    return replace(single, steps=there, backward=back)


def _step(move: Move, time: float) -> Step:
    """Make the step of a move; ``time`` is what the network is told at level 1."""
    plain = predicted_step(time * move.start, flow_level(move.start), flow_level(move.end), flow)
    return replace(plain, output=move.output, history=move.before, keeps_output=True)
