"""DPM-Solver++ as a sampler."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from diffusers import DPMSolverMultistepScheduler

from decinv.diffusion.prediction import Level, flow_level
from decinv.diffusion.sampler import (
    DIFFUSIONS,
    Sampler,
    Sigmas,
    Spacing,
    Trajectory,
    predicted_by,
    refuse_other,
    shift_of,
    sigma_options,
)
from decinv.diffusion.step import predicted_step, second_order


class DPMSolver(Sampler):
    """DPM-Solver++ of order 1, or 2 by multistep (Lu et al., arXiv 2211.01095), as ``DPMSolverMultistepScheduler`` does it.

    That ends at data alone where its config does not say otherwise. Older versions, such as 0.21, which made the images of
    arXiv 2311.18387 and 2409.18442, end at the level of time 0; for theirs set ``final_sigmas_type`` in
    ``scheduler_config.json`` to ``sigma_min``. The last latents differ by 2 to 11 % of their length, and the noise of the one
    is not found by the other.
    """

    scheduler_class = DPMSolverMultistepScheduler

    def __init__(
        self, steps: int = 10, order: Literal[1, 2] = 2, spacing: Spacing | None = None, sigmas: Sigmas | None = None
    ) -> None:
        """Set the grid and the order.

        Args:
            steps: Number of steps, at least 1.
            order: 1, which is DDIM on another grid, or 2, which is 2M, by the rule of the pipeline's ``solver_type``.
            spacing: How the steps' times are spaced; by default as the pipeline's scheduler says.
            sigmas: Noise levels between the steps: those of the spaced ``times``, those of ``karras`` (arXiv 2206.00364), or
                ``exponential``, evenly spaced in log(alpha / sigma); by default as the pipeline's scheduler says. Few steps
                of spaced times end with one that takes so much noise away that little of it can be found again.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(steps, spacing)
        refuse_other("order", order, (1, 2))
        refuse_other("sigmas", sigmas, (None, *get_args(Sigmas)))
        self.order = order
        self.sigmas = sigmas

    def options(self) -> dict[str, Any]:
        """Set levels and order; the published solver is the deterministic one for data prediction."""
        options = {"solver_order": self.order, "algorithm_type": "dpmsolver++"}
        return options | sigma_options(self.sigmas) | ({} if self.sigmas is None else {"use_lu_lambdas": False})

    def set_times(self, scheduler: Any, config: Mapping[str, Any], tokens: int | None) -> None:
        """Let the scheduler choose its times, shifted by the size of the image where it asks for that."""
        if config["use_dynamic_shifting"] and config["time_shift_type"] != "exponential":
            raise ValueError(
                f"Expected `time_shift_type` 'exponential' for {type(self).__name__}, which shifts times in no other way, but "
                f"got {config['time_shift_type']!r}; take the pipeline's own scheduler of flows."
            )
        scheduler.set_timesteps(self.steps, mu=shift_of(config, tokens))

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the steps off the scheduler, whose first step is of first order, and its last one where it says so."""
        scheduler = self.scheduler(config, tokens)
        flows = scheduler.config.use_flow_sigmas
        if flows and scheduler.sigmas[0] > 1:
            raise ValueError(
                "Expected levels of flows, which are at most 1, since `use_flow_sigmas` is set, but they begin at "
                f"{float(scheduler.sigmas[0]):.3g}; leave `sigmas` away, and set the other `use_..._sigmas` to false."
            )
        level = flow_level if flows else _normalised
        levels = [level(float(sigma)) for sigma in scheduler.sigmas]
        predicted = predicted_by(scheduler, ("epsilon", "sample", "flow_prediction") if flows else DIFFUSIONS)
        plain = [
            predicted_step(float(time), start, end, predicted)
            for time, start, end in zip(scheduler.timesteps, levels[:-1], levels[1:], strict=True)
        ]
        options = scheduler.config
        lower = options.lower_order_final and len(plain) < 15
        last = bool(lower or options.euler_at_final or options.final_sigmas_type == "zero")
        heun = options.solver_type == "heun"
        steps = plain.copy()
        if self.order == 2:
            for index in range(1, len(plain) - last):
                steps[index] = second_order(plain[index - 1], plain[index], heun)
        return Trajectory(tuple(steps), float(scheduler.init_noise_sigma), config)


def _normalised(sigma: float) -> Level:
    """The level of unit variance with ``sigma`` times as much noise as data."""
    return Level(1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5)
