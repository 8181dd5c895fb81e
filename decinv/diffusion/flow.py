"""Samplers of straight flows from noise to data."""

from collections.abc import Callable, Mapping
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

from decinv.diffusion.prediction import Level, Parts, flow, flow_level, reversed_flow
from decinv.diffusion.sampler import Sampler, Trajectory
from decinv.diffusion.step import first_order


class FlowEuler(Sampler):
    """Euler's method for flow matching, as ``FlowMatchEulerDiscreteScheduler`` within the Flux pipeline."""

    scheduler_class = FlowMatchEulerDiscreteScheduler

    def __init__(self, steps: int = 4) -> None:
        """Set the grid: ``sigma = 1, 1 - 1/N, ..., 1/N``, shifted as the scheduler's config says.

        Args:
            steps: Number of steps N, at least 1.
        """
        super().__init__(steps)

    def set_times(self, scheduler: Any, tokens: int | None) -> None:
        """Give the scheduler the pipeline's grid, and the shift that it computes from the size of the image."""
        sigmas = [1 - index / self.steps for index in range(self.steps)]
        scheduler.set_timesteps(sigmas=sigmas, mu=_shift(scheduler.config, tokens))

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the steps off the scheduler.

        Raises:
            ValueError: If the scheduler adds noise.
        """
        scheduler = self.scheduler(config, tokens)
        if scheduler.config.stochastic_sampling:
            raise ValueError("Expected a scheduler without `stochastic_sampling`, but it is set; set it to false.")
        return _straight(scheduler, flow)


class Stable3Euler(FlowEuler):
    """Euler's method for flow matching, as ``FlowMatchEulerDiscreteScheduler`` within the pipeline of Stable Diffusion 3.

    The scheduler spaces the times itself, from its largest to its smallest, which are shifted, and shifts them again.
    """

    def __init__(self, steps: int = 28) -> None:
        """Set the grid.

        Args:
            steps: Number of steps, at least 1.
        """
        super().__init__(steps)

    def set_times(self, scheduler: Any, tokens: int | None) -> None:
        """Let the scheduler space the times, and shift them by the size of the image where it asks for that."""
        scheduler.set_timesteps(self.steps, mu=_shift(scheduler.config, tokens))


class RectifiedFlow(FlowEuler):
    """Euler's method for the published rectified flows and InstaFlow (Liu et al., arXiv 2309.06380).

    Their network predicts the velocity towards data, at times ``1000 sigma`` without shift, whatever scheduler lies in the
    pipeline's directory.
    """

    def __init__(self, steps: int = 1) -> None:
        """Set the grid.

        Args:
            steps: Number of steps, at least 1; InstaFlow has one.
        """
        super().__init__(steps)

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the steps off a scheduler of flow matching with the default config."""
        return _straight(self.scheduler({}, tokens), reversed_flow)


def _shift(config: Mapping[str, Any], tokens: int | None) -> float | None:
    """Give the shift of times that the pipelines compute from the size of the image, for schedulers that ask for it.

    Raises:
        ValueError: If the scheduler asks for it, and the size is not known.
    """
    if not config["use_dynamic_shifting"]:
        return None
    if tokens is None:
        raise ValueError("Expected `tokens`, by which the scheduler shifts its times, but got None.")
    low, high = config["base_image_seq_len"], config["max_image_seq_len"]
    return float(config["base_shift"] + (tokens - low) * (config["max_shift"] - config["base_shift"]) / (high - low))


def _straight(scheduler: Any, predicted: Callable[[Level], Parts]) -> Trajectory:
    """Steps along straight lines from noise to data."""
    levels = [flow_level(float(sigma)) for sigma in scheduler.sigmas]
    pairs = zip(scheduler.timesteps, levels[:-1], levels[1:], strict=True)
    return Trajectory(tuple(first_order(float(time), 1.0, start, end, predicted(start)) for time, start, end in pairs))
