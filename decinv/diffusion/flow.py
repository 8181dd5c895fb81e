"""Samplers of straight flows from noise to data."""

from collections.abc import Callable, Mapping
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler

from decinv.diffusion.prediction import Level, Parts, flow, flow_level, reversed_flow
from decinv.diffusion.sampler import Sampler, Trajectory, shift_of
from decinv.diffusion.step import predicted_step


class FlowEuler(Sampler):
    """Euler's method for flow matching, as ``FlowMatchEulerDiscreteScheduler`` within the Flux pipeline."""

    scheduler_class = FlowMatchEulerDiscreteScheduler

    def __init__(self, steps: int = 4) -> None:
        """Set the grid: ``sigma = 1, 1 - 1/N, ..., 1/N``, shifted as the scheduler's config says.

        Args:
            steps: Number of steps N, at least 1.
        """
        super().__init__(steps)

    def refuse_kind(self, config: Mapping[str, Any]) -> None:
        """Refuse the config of a scheduler of another kind.

        Raises:
            ValueError: If it is.
        """
        kind = config.get("_class_name", "FlowMatch")
        if not kind.startswith("FlowMatch"):
            raise ValueError(
                f"Expected a pipeline of flow matching for {type(self).__name__}, but got {kind}; take `DDIM`, say."
            )

    def set_times(self, scheduler: Any, config: Mapping[str, Any], tokens: int | None) -> None:
        """Give the scheduler the pipeline's grid, and the shift that it computes from the size of the image."""
        sigmas = [1 - index / self.steps for index in range(self.steps)]
        scheduler.set_timesteps(sigmas=sigmas, mu=shift_of(config, tokens))

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the steps off the scheduler.

        Raises:
            ValueError: If the scheduler adds noise.
        """
        scheduler = self.scheduler(config, tokens)
        if scheduler.config.stochastic_sampling:
            raise ValueError("Expected a scheduler without `stochastic_sampling`, but it is set; set it to false.")
        return _straight(scheduler, flow, config)


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

    def set_times(self, scheduler: Any, config: Mapping[str, Any], tokens: int | None) -> None:
        """Let the scheduler space the times, and shift them by the size of the image where it asks for that."""
        scheduler.set_timesteps(self.steps, mu=shift_of(config, tokens))


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

    def refuse_kind(self, config: Mapping[str, Any]) -> None:
        """Refuse the config of a network that predicts something else, as of flow matching, the velocity towards noise.

        That of a rectified flow says nothing of it: it is the one of the Stable Diffusion 1 that the flow was tuned from.

        Raises:
            ValueError: If it is.
        """
        kind, predicted = config.get("_class_name", ""), config.get("prediction_type", "epsilon")
        if predicted != "epsilon":
            raise ValueError(
                f"Expected a network that predicts the velocity towards data for {type(self).__name__}, but that of a pipeline "
                f"with `prediction_type` {predicted!r} predicts that; take `DDIM`, say."
            )
        if kind.startswith("FlowMatch"):
            raise ValueError(
                f"Expected a network that predicts the velocity towards data for {type(self).__name__}, but that of a pipeline "
                f"with {kind} predicts the one towards noise; take `FlowEuler`."
            )

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the steps off a scheduler of flow matching with the default config."""
        self.refuse_kind(config)
        return _straight(self.scheduler({}, tokens), reversed_flow, {})


def _straight(scheduler: Any, predicted: Callable[[Level], Parts], config: Mapping[str, Any]) -> Trajectory:
    """Steps along straight lines from noise to data."""
    levels = [flow_level(float(sigma)) for sigma in scheduler.sigmas]
    pairs = zip(scheduler.timesteps, levels[:-1], levels[1:], strict=True)
    steps = tuple(predicted_step(float(time), start, end, predicted) for time, start, end in pairs)
    return Trajectory(steps, config={**config, "_class_name": type(scheduler).__name__})
