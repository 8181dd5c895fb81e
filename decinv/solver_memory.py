"""What solver and update rule need of memory for a chunk, known before it runs."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.optim import Optimizer

from decinv.memory import PeakMemory
from decinv.problems.base import Evaluation, Problem
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates.stock import as_rule

MOST_VALUES = 2**16
"""Values of the image with which solver and update rule are tried out, about; what they need grows in proportion."""

LEAST_LINES = 48
"""Lines of a large image that are kept then, at least, so that its borders count for little."""

MOST_ROWS = 3
"""Samples that are looked at together, at most; what is needed grows alike with each further one."""

STEADY = 3
"""Iterations without a new peak after which solver and update rule count as known."""


def beyond(rows: int, last: int, before: int) -> int:
    """Give what more than ``MOST_ROWS`` rows need, from what ``MOST_ROWS`` and one fewer do.

    Args:
        rows: Their number.
        last: What ``MOST_ROWS`` need.
        before: What one fewer need.
    """
    return last + (rows - MOST_ROWS) * (last - before)


@lru_cache(maxsize=256)
def solver_need(
    update: Callable[[Any], Optimizer], stopping: Stopping, rows: int, point: int, image: tuple[int, ...]
) -> tuple[int, int]:
    """Try solver and update rule out on small samples, without a codec, and scale what they need.

    Args:
        update: What makes the update rule.
        stopping: When a sample is done, of which the largest number of iterations counts.
        rows: Samples of the chunk, at least 1.
        point: Values of a sample's latent.
        image: Shape of a sample's image, (3, H, W), or clip, (3, T, H, W).

    Returns:
        Bytes that they keep, at most, while the problem is evaluated, and their own peak.
    """
    if rows > MOST_ROWS:
        last, before = (solver_need(update, stopping, few, point, image) for few in (MOST_ROWS, MOST_ROWS - 1))
        kept, peak = (beyond(rows, new, old) for new, old in zip(last, before, strict=True))
        return kept, peak
    small = _smaller(*image)
    scale = prod(image) / prod(small)
    ends = [_try_out(update, stopping, rows, round(point / scale), small, leaving) for leaving in range(min(rows, 2))]
    return round(scale * max(kept for kept, _ in ends)), round(scale * max(peak for _, peak in ends))


def _smaller(*image: int) -> tuple[int, int, int]:
    """Give the planes, lines and columns of a part of an image or clip, of some ``MOST_VALUES`` at most."""
    *planes, height, width = image
    lines = min(height, max(LEAST_LINES, MOST_VALUES // width))
    return min(prod(planes), max(1, MOST_VALUES // (lines * width))), lines, width


def _try_out(
    update: Callable[[Any], Optimizer],
    stopping: Stopping,
    rows: int,
    point: int,
    image: tuple[int, int, int],
    leaving: int,
) -> tuple[int, int]:
    """Meter solver and rule until they need no more; then let samples leave, or evaluate the last iterate if one will be."""
    endless = replace(stopping, rtol=0.0, patience=None, gradient_steps=0, restarts=0)
    with unset_fake_temporarily(), torch.device("cpu"), torch.random.fork_rng([]), PeakMemory("cpu") as meter:
        parameter = nn.Parameter(torch.empty(0))
        solver = Solver(parameter, as_rule(update([parameter])), endless)
        problem = _Blank(rows, point, image, meter)
        solver.start(problem)
        peak, since = meter.bytes, 0
        while solver.iteration < endless.max_iters - 1 and since < STEADY:
            solver.step()
            peak, since = meter.bytes, since + 1 if meter.bytes == peak else 0
        problem.leaving = leaving
        if not leaving and stopping.last_iterate:
            solver.stopping = replace(endless, max_iters=solver.iteration + 1)
        solver.step()
    return problem.kept, meter.bytes


class _Blank(Problem):
    """A problem of given sizes without content, which looks at what is alive whenever it is evaluated.

    Attributes:
        kept: The most that was alive then, in bytes.
        leaving: Samples that its next evaluation declares solved.
    """

    def __init__(self, rows: int, point: int, image: tuple[int, int, int], meter: PeakMemory) -> None:
        self.rows, self.values, self.image, self.meter = rows, point, image, meter
        self.kept = self.leaving = 0

    def start(self) -> Tensor:
        return torch.zeros(self.rows, self.values, 1, 1)

    def evaluate(self, point: Tensor) -> Evaluation:
        self.kept = max(self.kept, self.meter.live)
        merit = torch.ones(len(point))
        merit[: self.leaving] = 0
        return Evaluation(torch.rand_like(point), merit, torch.rand(len(point), *self.image))

    def select(self, keep: Tensor) -> None:
        """Have nothing to select."""

    def latent(self, point: Tensor) -> Tensor:
        return point
