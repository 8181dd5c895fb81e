"""Samplers that can be run backwards exactly, if a pair of points is kept instead of one latent."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch import Tensor

from decinv.diffusion.coupling import Coupling, Pair, Predict
from decinv.diffusion.sampler import DDIM, Spacing, Trajectory
from decinv.diffusion.step import Step, joined


class InvertibleSampler(DDIM, Coupling, ABC):
    """A sampler on DDIM's grid whose state is a pair of points. Its latents are not those of DDIM.

    Each step ends where the next one begins, as in the papers, on whatever times; those of ``DDIMScheduler`` need not.
    """

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read DDIM's times, and where its last step ends, off the scheduler; points go along the steps in pairs.

        Raises:
            ValueError: If the first point is noise alone, or for the reasons of DDIM.
        """
        single = super().trajectory(config, tokens)
        if single.steps[0].start.alpha == 0:
            raise ValueError(
                f"Expected some data in the first point for {type(self).__name__}, but it is noise alone; use `DDIM`, or a "
                "scheduler without `rescale_betas_zero_snr`."
            )
        return replace(single, steps=joined(single.steps), coupling=self)


class EDICT(InvertibleSampler):
    """Two coupled trajectories, each stepped with the noise predicted at the other (Wallace et al., arXiv 2211.12446).

    They take turns in being stepped first, but not in being averaged, as in the released code; the image is that of the one
    that begins. Others' code lets them take turns in both, which is another sampler, whose noise differs by up to 1e-4 of its
    length.
    """

    def __init__(self, steps: int = 50, spacing: Spacing | None = None, mixing: float = 0.93) -> None:
        """Set grid and coupling.

        Args:
            steps: Number of steps, at least 1; each takes two predictions.
            spacing: How the steps' times are spaced; by default as the pipeline's scheduler says.
            mixing: Weight p of a trajectory's own point when both are averaged after a step, in (0, 1]. Differences between
                both grow by ``p^-2`` in each step on the way back.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(steps, spacing)
        if not 0 < mixing <= 1:
            raise ValueError(f"Expected `mixing` in (0, 1], but got {mixing}.")
        self.mixing = mixing

    def generate(self, steps: Sequence[Step], predict: Predict, point: Tensor) -> Pair:
        """Step both trajectories, and average."""
        p, pair = self.mixing, [point.double()] * 2
        for index, step in enumerate(steps):
            for one in _turns(index):
                pair[one] = _ahead(predict, step, pair[one], pair[1 - one])
            pair[0] = p * pair[0] + (1 - p) * pair[1]
            pair[1] = p * pair[1] + (1 - p) * pair[0]
        return pair[0], pair[1]

    def invert(self, steps: Sequence[Step], predict: Predict, pair: Pair) -> Tensor:
        """Undo each step in reverse order."""
        p, (x, y) = self.mixing, pair
        for index, step in reversed(list(enumerate(steps))):
            y = (y - (1 - p) * x) / p
            x = (x - (1 - p) * y) / p
            points = [x, y]
            for one in reversed(_turns(index)):
                points[one] = _behind(predict, step, points[one], points[1 - one])
            x, y = points
        return x

    def complete(self, steps: Sequence[Step], predict: Predict, latent: Tensor) -> Pair:
        """Start both from the image, as the authors do."""
        return latent.double(), latent.double()


class TwoPointSampler(InvertibleSampler, ABC):
    """Each step goes from two points that follow each other to the next one.

    With x_r, x_s, x_t three points that follow each other::

        x_t = w (x_r - back(x_s)) + ahead(x_s)

    where ``back`` is DDIM's step from x_s to the level of x_r, and w > 0 a weight. Errors grow by ``1 / w`` on the way back.
    """

    @abstractmethod
    def weight(self, earlier: Step, step: Step) -> float:
        """Give w of ``step``, which follows ``earlier``."""

    def generate(self, steps: Sequence[Step], predict: Predict, point: Tensor) -> Pair:
        """Take one DDIM step, and then steps with two points each; give the last point and the one before."""
        before = point.double()
        here = _ahead(predict, steps[0], before, before)
        for earlier, step in pairwise(steps):
            ahead, back = _both(predict, earlier, step, here)
            before, here = here, self.weight(earlier, step) * (before - back) + ahead
        return here, before

    def invert(self, steps: Sequence[Step], predict: Predict, pair: Pair) -> Tensor:
        """Undo each step in reverse order."""
        after, here = pair
        for earlier, step in zip(reversed(steps[:-1]), reversed(steps[1:]), strict=True):
            ahead, back = _both(predict, earlier, step, here)
            after, here = here, (after - ahead) / self.weight(earlier, step) + back
        return here

    def complete(self, steps: Sequence[Step], predict: Predict, latent: Tensor) -> Pair:
        """Take the point before from naive DDIM inversion, where the network is told the time at which the last step begins.

        The code of O-BELM's authors tells it time 1 instead, which is the same with Stable Diffusion's ``steps_offset``.
        """
        after = latent.double()
        return after, _behind(predict, steps[-1], after, after)


class BDIA(TwoPointSampler):
    """Bi-directional integration: each step averages the way from two points back (Zhang et al., arXiv 2307.10829).

    Its weight is the same for all steps.
    """

    def __init__(self, steps: int = 50, spacing: Spacing | None = None, gamma: float = 1.0) -> None:
        """Set grid and weight.

        Args:
            steps: Number of steps, at least 1.
            spacing: How the steps' times are spaced; by default as the pipeline's scheduler says.
            gamma: Weight of the point two steps back, in (0, 1]. Errors grow by ``1 / gamma`` in each step on the way back, so
                that below 1 long trajectories have an inverse on paper only.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(steps, spacing)
        if not 0 < gamma <= 1:
            raise ValueError(f"Expected `gamma` in (0, 1], but got {gamma}.")
        self.gamma = gamma

    def weight(self, earlier: Step, step: Step) -> float:
        """Give gamma."""
        return self.gamma


class BELM(TwoPointSampler):
    """The bidirectional explicit linear multistep sampler of least error, O-BELM (Wang et al., arXiv 2410.07273).

    It is of second order. With ``n = sigma / alpha`` and ``h = n_s - n_t``, ``h' = n_r - n_s``::

        x_t / alpha_t = (h / h')^2 x_r / alpha_r + (1 - (h / h')^2) x_s / alpha_s - h (h + h') / h' eps(x_s)

    which is ``w = (h / h')^2 alpha_t / alpha_r``. Errors grow on the way back by about ``(h' / h)^2`` in each step, so to the
    square of the ratio of the grid's first and last ``h``.

    The released code goes to the same points; its scripts space times by ``linspace``, and it always ends at data alone, as a
    scheduler with ``set_alpha_to_one`` does.
    """

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read DDIM's steps off the scheduler.

        Raises:
            ValueError: If one goes nowhere, ``h = 0``, so that x_r is forgotten, or for the reasons of other samplers of pairs.
        """
        trajectory = super().trajectory(config, tokens)
        if any(step.end.ratio >= step.start.ratio for step in trajectory.steps):
            raise ValueError(
                "Expected steps that each lower the noise for BELM, but the last one goes nowhere, as one from time 0 does "
                "where the scheduler has no `set_alpha_to_one`; set its `spacing` to trailing."
            )
        return trajectory

    def weight(self, earlier: Step, step: Step) -> float:
        """Give w."""
        here = step.start.ratio
        ratio = (here - step.end.ratio) / (earlier.start.ratio - here)
        return ratio**2 * step.end.alpha / earlier.start.alpha


def _turns(index: int) -> tuple[int, int]:
    """Give which of EDICT's trajectories is stepped first, and which second."""
    return index % 2, 1 - index % 2


def _both(predict: Predict, earlier: Step, step: Step, point: Tensor) -> Pair:
    """Give DDIM's next point, and its previous one, both with the noise predicted here."""
    output = predict(step, point.float()).double()
    return step(point, output), earlier.back(point, step.eps(point, output))


def _ahead(predict: Predict, step: Step, point: Tensor, other: Tensor) -> Tensor:
    """Step from a point with the noise predicted at another."""
    eps = step.eps(other, predict(step, other.float()).double())
    ratio = step.end.alpha / step.start.alpha
    return ratio * point + (step.end.sigma - ratio * step.start.sigma) * eps


def _behind(predict: Predict, step: Step, point: Tensor, other: Tensor) -> Tensor:
    """Undo ``_ahead``."""
    return step.back(point, step.eps(other, predict(step, other.float()).double()))
