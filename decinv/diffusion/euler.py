"""Euler's methods in the coordinates of Karras et al. as samplers."""

from collections.abc import Mapping
from typing import Any, get_args

from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler

from decinv.diffusion.prediction import Level
from decinv.diffusion.sampler import Sampler, Sigmas, Spacing, Trajectory, predicted_by, refuse_other, sigma_options
from decinv.diffusion.step import predicted_step


class Euler(Sampler):
    """Euler's method for the probability-flow equation (Karras et al., arXiv 2206.00364), as ``EulerDiscreteScheduler``."""

    scheduler_class = EulerDiscreteScheduler

    def __init__(self, steps: int = 30, spacing: Spacing | None = None, sigmas: Sigmas | None = None) -> None:
        """Set the grid.

        Args:
            steps: Number of steps, at least 1.
            spacing: How the steps' times are spaced; by default as the pipeline's scheduler says.
            sigmas: Noise levels between the steps: those of the spaced ``times``, those of ``karras`` (arXiv 2206.00364), or
                ``exponential``, evenly spaced in log(alpha / sigma); by default as the pipeline's scheduler says.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(steps, spacing)
        refuse_other("sigmas", sigmas, (None, *get_args(Sigmas)))
        self.sigmas = sigmas

    def options(self) -> dict[str, Any]:
        """Set the levels."""
        return sigma_options(self.sigmas)

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the steps off the scheduler."""
        return _exploding(self.scheduler(config, tokens), config)


class EulerAncestral(Sampler):
    """Euler's method with new noise in every step, as ``EulerAncestralDiscreteScheduler``, SDXL-turbo's sampler.

    The noise is part of what is given: a step can be inverted only where its noise is known.
    """

    scheduler_class = EulerAncestralDiscreteScheduler

    def __init__(self, steps: int = 30, spacing: Spacing | None = None) -> None:
        """Set the grid.

        Args:
            steps: Number of steps, at least 1.
            spacing: How the steps' times are spaced; by default as the pipeline's scheduler says.
        """
        super().__init__(steps, spacing)

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the steps off the scheduler."""
        return _exploding(self.scheduler(config, tokens), config, ancestral=True)


def _exploding(scheduler: Any, config: Mapping[str, Any], ancestral: bool = False) -> Trajectory:
    """Steps in coordinates in which data keep their size, and the network is shown points of unit variance."""
    predicted = predicted_by(scheduler)
    levels = [Level(1.0, float(sigma)) for sigma in scheduler.sigmas]
    pairs = zip(scheduler.timesteps, levels, levels[1:], strict=False)  # log-linear ones have a level more than they use
    steps = (predicted_step(float(time), start, end, predicted, True, ancestral) for time, start, end in pairs)
    return Trajectory(tuple(steps), float(scheduler.init_noise_sigma), config)
