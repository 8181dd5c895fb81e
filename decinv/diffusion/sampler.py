"""Samplers: the grid of a diffusers scheduler, and the steps between its points."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from diffusers import DDIMScheduler

from decinv.diffusion.coupling import Coupling
from decinv.diffusion.prediction import PREDICTIONS, Level, Parts
from decinv.diffusion.step import Step, predicted_step
from decinv.errors import own_sentence, reason
from decinv.ranges import refuse_below

Spacing = Literal["linspace", "leading", "trailing"]

Sigmas = Literal["times", "karras", "exponential"]

UNDECLARED = ("sigma_min", "sigma_max")
"""Keys of a config that some schedulers of diffusers read though they do not take them, as ``from_config`` of another does."""


@dataclass(frozen=True)
class Trajectory:
    """The steps of a sampler, from noise to data.

    Attributes:
        steps: The steps, the noisiest first.
        start: What standard normal noise is multiplied by to be the first point.
        config: The config of the scheduler that they were read from.
        coupling: How points go along the steps in pairs; ``None`` where each goes alone.
        backward: Steps from data to noise by the sampler's own rule, as many, where that is how it is inverted naively.
    """

    steps: tuple[Step, ...]
    start: float = 1.0
    config: Mapping[str, Any] = field(default_factory=dict)
    coupling: Coupling | None = None
    backward: tuple[Step, ...] = ()

    @property
    def multistep(self) -> bool:
        """Whether steps depend on those before."""
        return any(step.history for step in self.steps)

    def reversed(self) -> "Trajectory":
        """Give the trajectory of the steps ``backward``."""
        return Trajectory(self.backward)

    def refuse_pairs(self) -> None:
        """Refuse samplers of pairs.

        Raises:
            ValueError: If points go in pairs.
        """
        if self.coupling is not None:
            raise ValueError(
                f"Expected a sampler whose points go alone, but got {type(self.coupling).__name__}, which keeps pairs of them; "
                "invert it with `PairInversion`."
            )


class Sampler(ABC):
    """How many steps of which kind. Times and coefficients are those of a diffusers scheduler.

    Attributes:
        steps: Number of steps.
    """

    scheduler_class: type[Any]
    """The scheduler of diffusers that the sampler follows."""

    def __init__(self, steps: int, spacing: Spacing | None = None) -> None:
        """Set the grid.

        Args:
            steps: Number of steps, at least 1.
            spacing: How the steps' times are spaced; by default as the pipeline's scheduler says.

        Raises:
            ValueError: If ``steps`` is no whole number above 0, or ``spacing`` none of the three.
        """
        if steps < 1 or steps != int(steps):
            raise ValueError(f"Expected `steps` to be a whole number of at least 1, but got {steps!r}.")
        refuse_other("spacing", spacing, (None, *get_args(Spacing)))
        self.steps = steps
        self.spacing = spacing

    def scheduler(self, config: Mapping[str, Any], tokens: int | None = None) -> Any:
        """Make the diffusers scheduler with its times set.

        Args:
            config: The config of a pipeline's scheduler, of this or another class, of which is taken what this class
                knows and was not left at its default.
            tokens: Number of tokens of an image, for schedulers whose times depend on it.

        Raises:
            ValueError: If the config is that of a scheduler of another kind, the steps are not linear in the network's output,
                they lead from data to noise, or its times suffice for fewer only or go beyond 0.
        """
        self.refuse_kind(config)
        known = inspect.signature(self.scheduler_class.__init__).parameters.keys()
        own = config.get("_class_name") == self.scheduler_class.__name__  # another class has defaults of its own
        chosen = known - set(() if own else config.get("_use_default_values", ()))
        options = {key: value for key, value in config.items() if key in chosen} | self.options()
        if self.spacing is not None:
            options["timestep_spacing"] = self.spacing
        with _known_to(self.scheduler_class):
            scheduler = self.scheduler_class(**options)
        scheduler.register_to_config(**{key: config[key] for key in UNDECLARED if key in config and key not in known})
        for option in ("clip_sample", "thresholding"):
            if scheduler.config.get(option):
                raise ValueError(f"Expected a scheduler without `{option}`, whose steps have no inverse; set it to false.")
        with _known_to(self.scheduler_class):
            self.set_times(scheduler, {**config, **scheduler.config}, tokens)
        discrete = scheduler.config.get("timestep_type") != "continuous"
        if discrete and scheduler.timesteps.min() < 0:  # as of 61 steps of `trailing`, to which rounding errors add one
            raise ValueError(
                f"Expected times of at least 0, but the scheduler's go on to {float(scheduler.timesteps.min()):g} for "
                f"{self.steps} steps; take another number of steps."
            )
        sigmas = getattr(scheduler, "sigmas", None)  # the last one may be where the last step begins
        if sigmas is not None and sigmas[-1] > sigmas[0]:
            raise ValueError(
                "Expected steps from noise to data, but the scheduler's go the other way; set `invert_sigmas` to false."
            )
        if sigmas is not None and not (sigmas[:-1].diff() < 0).all():
            raise ValueError(f"Expected steps that each lower the noise, but some of {self.steps} do not; take fewer.")
        if sigmas is not None and not sigmas.isfinite().all():
            raise ValueError(f"Expected finite noise levels, but {self.steps} steps have {sigmas.tolist()}; take more steps.")
        return scheduler

    def refuse_kind(self, config: Mapping[str, Any]) -> None:
        """Refuse the config of a scheduler whose noise levels do not come from betas, or whose times are others.

        Raises:
            ValueError: If it is.
        """
        kind = config.get("_class_name", self.scheduler_class.__name__)
        if kind.startswith("FlowMatch"):
            raise ValueError(
                f"Expected a sampler of flows for a pipeline with {kind}, but got {type(self).__name__}; take `FlowEuler`."
            )
        if "_class_name" in config and "beta_schedule" not in config:
            raise ValueError(
                f"Expected a pipeline whose scheduler has betas for {type(self).__name__}, but got {kind}, which has none."
            )
        known = inspect.signature(self.scheduler_class.__init__).parameters
        if config.get("timestep_type") == "continuous" and "timestep_type" not in known:
            raise ValueError(
                f"Expected a sampler of continuous times, which the pipeline's network is told by its `timestep_type`, but got "
                f"{type(self).__name__}; take `Euler`."
            )

    def options(self) -> dict[str, Any]:
        """Give the scheduler's options that make it this sampler."""
        return {}

    def set_times(self, scheduler: Any, config: Mapping[str, Any], tokens: int | None) -> None:
        """Let the scheduler choose its times; the config is its own, with what else the pipeline's says."""
        del config, tokens
        scheduler.set_timesteps(self.steps)

    @abstractmethod
    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the steps off the scheduler; the arguments are those of ``scheduler``."""


class DDIM(Sampler):
    """DDIM without noise (Song et al., arXiv 2010.02502), as ``DDIMScheduler`` does it."""

    scheduler_class = DDIMScheduler

    def __init__(self, steps: int = 50, spacing: Spacing | None = None, offset: int | None = None) -> None:
        """Set the grid.

        Args:
            steps: Number of steps, at least 1.
            spacing: How the steps' times are spaced; by default as the pipeline's scheduler says.
            offset: What ``leading`` times are later than 0, ``steps_offset`` of diffusers, at least 0; by default as the
                pipeline's scheduler says, for Stable Diffusion 1. The last step but one takes most of what noise is left away
                then, and on some images it leads from two points to the same one; with some more it does so less.

        Raises:
            ValueError: If ``steps`` is below 1, or ``offset`` below 0.
        """
        super().__init__(steps, spacing)
        refuse_below(0, offset=offset)
        self.offset = offset

    def options(self) -> dict[str, Any]:
        """Data are latents, which are not clipped."""
        return {"clip_sample": False} | ({} if self.offset is None else {"steps_offset": self.offset})

    def set_times(self, scheduler: Any, config: Mapping[str, Any], tokens: int | None) -> None:
        """Let the scheduler choose among the times of the training."""
        most = config["num_train_timesteps"]
        if self.steps > most:
            raise ValueError(f"Expected `steps` to be at most {most}, the times of the training, but got {self.steps}.")
        super().set_times(scheduler, config, tokens)

    def trajectory(self, config: Mapping[str, Any], tokens: int | None = None) -> Trajectory:
        """Read the steps off the scheduler. Where a step leads is its own affair, so it is tried out.

        Raises:
            ValueError: If the scheduler's steps are not linear in the network's output, or go beyond its last time.
        """
        scheduler = self.scheduler(config, tokens)
        if scheduler.timesteps.max() >= len(scheduler.alphas_cumprod):
            raise ValueError(
                f"Expected times below {len(scheduler.alphas_cumprod)}, but {self.steps} steps with `steps_offset` "
                f"{scheduler.config.steps_offset} begin at {int(scheduler.timesteps.max())}; take fewer steps."
            )
        predicted = predicted_by(scheduler)
        predictions, points = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
        steps = []
        for time in scheduler.timesteps:
            start = _variance_preserving(float(scheduler.alphas_cumprod[time]))
            point, output = scheduler.step(predictions, time, points).prev_sample.tolist()
            parts = predicted(start)
            end = _reached(parts, point, output)
            steps.append(predicted_step(float(time), start, end, predicted))
        return Trajectory(tuple(steps), float(scheduler.init_noise_sigma), config)


@contextmanager
def _known_to(kind: type[Any]) -> Iterator[None]:
    """Say in one sentence what a scheduler of diffusers raises at its config within a ``with`` block.

    Raises:
        ValueError: If it cannot do what the config says.
    """
    try:
        yield
    except (ArithmeticError, ImportError, NotImplementedError, TypeError, ValueError) as error:
        if own_sentence(error) is not None:
            raise
        raise ValueError(
            f"Expected a config that {kind.__name__} knows, but: {reason(error)}; mend the pipeline's `scheduler_config.json`."
        ) from error


def shift_of(config: Mapping[str, Any], tokens: int | None) -> float | None:
    """Give the shift of times that pipelines compute from the size of the image, for schedulers that ask for it.

    Raises:
        ValueError: If the scheduler asks for it, and the size is not known.
    """
    if not config["use_dynamic_shifting"]:
        return None
    if tokens is None:
        raise ValueError("Expected `tokens`, by which the scheduler shifts its times, but got None.")
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, most = config.get("base_shift", 0.5), config.get("max_shift", 1.16)  # as for Stable Diffusion 3, where not given
    return float(base + (tokens - low) * (most - base) / (high - low))


def refuse_other(name: str, value: object, known: Sequence[object]) -> None:
    """Refuse an argument that is none of those known.

    Raises:
        ValueError: If it is none.
    """
    if value not in known:
        raise ValueError(f"Expected `{name}` to be one of {', '.join(map(repr, known))}, but got {value!r}.")


def sigma_options(sigmas: Sigmas | None) -> dict[str, bool]:
    """Give a scheduler's options for noise levels; none for its own."""
    if sigmas is None:
        return {}
    return {f"use_{kind}_sigmas": sigmas == kind for kind in ("karras", "exponential", "beta")}


DIFFUSIONS = ("epsilon", "v_prediction", "sample")
"""What networks predict whose noise levels come from betas."""


def predicted_by(scheduler: Any, kinds: Sequence[str] = DIFFUSIONS) -> Callable[[Level], Parts]:
    """Give what the scheduler's network predicts.

    Raises:
        ValueError: If it is none of ``kinds``.
    """
    kind = scheduler.config.prediction_type
    if kind not in kinds:
        raise ValueError(f"Expected `prediction_type` to be one of {', '.join(kinds)} with these levels, but got {kind!r}.")
    return PREDICTIONS[kind]


def _variance_preserving(alpha_squared: float) -> Level:
    return Level(alpha_squared**0.5, (1 - alpha_squared) ** 0.5)


def _reached(parts: Parts, point: float, output: float) -> Level:
    """Give the level at which a step of first order ends, from its two coefficients."""
    determinant = parts.data_point * parts.noise_output - parts.noise_point * parts.data_output
    alpha = (point * parts.noise_output - output * parts.noise_point) / determinant
    sigma = (output * parts.data_point - point * parts.data_output) / determinant
    return Level(alpha, sigma)
