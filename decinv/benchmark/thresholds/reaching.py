"""How many evaluations a method needs to bring the error of the latents down to a level."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.benchmark.measuring.trajectory import Trajectory


@dataclass(frozen=True)
class Level:
    """An error to reach.

    Attributes:
        name: What tables call it.
        mean_db: Mean NMSE over the images to reach, dB.
        each_db: NMSE to reach on each image ``(B,)``, dB.
    """

    name: str
    mean_db: float
    each_db: Tensor

    @classmethod
    def fixed(cls, level_db: float, count: int) -> "Level":
        """Give a level that is the same for the mean and for each of ``count`` images."""
        return cls(f"{level_db:g} dB", level_db, torch.full((count,), level_db))

    @classmethod
    def end_of(cls, name: str, runs: Sequence[Trajectory]) -> "Level":
        """Give what a method reports at the end of its longest run: on average, and on each image."""
        longest = max(runs, key=lambda run: len(run.nmse_db))
        return cls(f"{name} at {len(longest.nmse_db) - 1}", longest.means_db[-1], longest.nmse_db[-1])


class Needed(NamedTuple):
    """What a method needs to reach a level; ``None`` where it never does.

    Attributes:
        evaluations: Least number of evaluations after which the mean NMSE is at or below the level, over all runs.
        seconds: Seconds for each image until then.
        median_evaluations: Median over the images of the least number after which the image's own NMSE is.
        reached: Part of the images on which it ever is, from 0 to 1.
    """

    evaluations: int | None
    seconds: float | None
    median_evaluations: float | None
    reached: float


def needed(runs: Sequence[Trajectory], level: Level) -> Needed:
    """Find when the runs of one method reach a level; a run under a longer schedule may do so later than a shorter one.

    Args:
        runs: The runs on the same ``B`` images.
        level: The level, for as many images.

    Returns:
        What is needed.
    """
    count = len(level.each_db)
    first: tuple[int, float] | None = None
    each = torch.full((count,), math.inf)
    for run in runs:
        hits = [i for i, mean in enumerate(run.means_db) if mean <= level.mean_db]
        if hits and (first is None or hits[0] < first[0]):
            first = hits[0], float(run.seconds[hits[0]]) / count
        below = run.nmse_db <= level.each_db
        each = each.minimum(torch.where(below.any(0), below.int().argmax(0), math.inf))
    middle = median(each.tolist())
    evaluations, seconds = first or (None, None)
    return Needed(evaluations, seconds, middle if math.isfinite(middle) else None, float(each.isfinite().float().mean()))
