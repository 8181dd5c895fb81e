"""One step of a sampler, as the linear map that it is beside the network, and how steps are put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log

from torch import Tensor

from decinv.diffusion.prediction import PREDICTIONS, Level, Parts


@dataclass(frozen=True)
class Step:
    """From a point x_s to the cleaner x_t: ``x_t = point x_s + output m + history y_r + noise n``, ``m`` the network's output.

    y_r is what the step before hands on, its data prediction or its network's output, and n standard normal noise; both are
    arguments, so a step has no state.

    Attributes:
        time: The time that the network is told.
        scale: What x_s is divided by before the network sees it.
        start: Level of x_s.
        end: Level of x_t; for ancestral steps, before noise is added.
        parts: How data and noise follow from x_s and m.
        point: Coefficient of x_s.
        output: Coefficient of m.
        history: Coefficient of y_r; 0 for steps of first order.
        noise: Coefficient of n; 0 for deterministic steps.
        landing: How data and noise follow from x_t without n and the network's output there; ``None`` where they do not.
        landing_scale: What x_t is divided by before the network sees it.
        keeps_output: Whether the step hands on m instead of the data prediction.
    """

    time: float
    scale: float
    start: Level
    end: Level
    parts: Parts
    point: float
    output: float
    history: float = 0.0
    noise: float = 0.0
    landing: Parts | None = None
    landing_scale: float = 1.0
    keeps_output: bool = False

    def __call__(self, point: Tensor, output: Tensor, history: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Take the step.

        Args:
            point: x_s, of any shape.
            output: m, of the same shape.
            history: y_r, for steps that have a history.
            noise: n, for ancestral steps.

        Returns:
            x_t.

        Raises:
            ValueError: If the step needs ``history`` or ``noise``, and it is not given.
        """
        result = self.point * point + self.output * output
        if self.history:
            result = result + self.history * _given(history, "history")
        if self.noise:
            result = result + self.noise * _given(noise, "noise")
        return result

    def data(self, point: Tensor, output: Tensor) -> Tensor:
        """Give the data prediction y_s."""
        return self.parts.data_point * point + self.parts.data_output * output

    def handed_on(self, point: Tensor, output: Tensor) -> Tensor:
        """Give what the next step finds as its history."""
        return output if self.keeps_output else self.data(point, output)

    def eps(self, point: Tensor, output: Tensor) -> Tensor:
        """Give the noise prediction."""
        return self.parts.noise_point * point + self.parts.noise_output * output

    def back(self, point: Tensor, eps: Tensor) -> Tensor:
        """Give the x_s from which a step of first order with the noise prediction ``eps`` leads to the point x_t."""
        ratio = self.start.alpha / self.end.alpha
        return ratio * point + (self.start.sigma - ratio * self.end.sigma) * eps

    @property
    def landed(self) -> "Step":
        """The step as the network sees it from its end, x_t: at the level of x_t, and at the time of the step."""
        return replace(self, scale=self.landing_scale, parts=self.landing or self.parts)

    @property
    def slope(self) -> float:
        """How much x_t changes with x_s, about.

        It is the coefficient of x_s, but for networks that predict data, whose output changes with x_s as much as all the rest
        does. For these it is that of data of unit variance, ``(alpha_s alpha_t + sigma_s sigma_t) / (alpha_s^2 + sigma_s^2)``.
        """
        if self.parts.data_point:
            return self.point
        start, end = self.start, self.end
        return (start.alpha * end.alpha + start.sigma * end.sigma) / start.square

    @property
    def plain(self) -> "Step":
        """The step without history and noise; of a multistep method, that of first order between the same levels."""
        if not self.history:
            return replace(self, noise=0.0)
        return first_order(self.time, self.scale, self.start, self.end, self.parts, self.landing, self.landing_scale)


def _given(tensor: Tensor | None, name: str) -> Tensor:
    if tensor is None:
        raise ValueError(f"Expected `{name}`, on which the step depends, but got None.")
    return tensor


def first_order(
    time: float,
    scale: float,
    start: Level,
    end: Level,
    parts: Parts,
    landing: Parts | None = None,
    landing_scale: float = 1.0,
) -> Step:
    """``x_t = alpha_t x_0 + sigma_t eps``, x_0 and eps predicted at x_s as ``parts`` say.

    That is DDIM (Song et al., arXiv 2010.02502), which is DPM-Solver++(1), and in other coordinates Euler's step (Karras et
    al., arXiv 2206.00364, ``alpha = 1``) and that of flow matching (``alpha = 1 - sigma``).
    """
    point = end.alpha * parts.data_point + end.sigma * parts.noise_point
    output = end.alpha * parts.data_output + end.sigma * parts.noise_output
    return Step(time, scale, start, end, parts, point, output, landing=landing, landing_scale=landing_scale)


def second_order(before: Step, plain: Step, heun: bool = False) -> Step:
    """DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, Algorithm 2): the step ``plain`` with history of the step before.

    With ``lambda = log(alpha / sigma)``, ``h = lambda_t - lambda_s`` and ``r = (lambda_s - lambda_r) / h``, x_0 becomes
    ``y_s + (y_s - y_r) / (2r)`` in ``x_t = (sigma_t / sigma_s) x_s - alpha_t (e^-h - 1) x_0``. By the rule of ``heun`` the
    weight of ``y_s - y_r`` is ``alpha_t ((e^-h - 1) / h + 1) / r`` instead.
    """
    start, end = plain.start, plain.end
    ratio = end.sigma / start.sigma
    weight = end.alpha - ratio * start.alpha  # -alpha_t (e^-h - 1)
    length = _log_snr(end, start)
    tilt = length / (2 * _log_snr(start, before.start)) * weight  # weight of y_s - y_r
    if heun and length:  # else the step goes nowhere
        tilt *= 2 * (end.alpha / weight - 1 / length)
    return Step(
        *(plain.time, plain.scale, start, end, plain.parts),
        point=ratio + (weight + tilt) * plain.parts.data_point,
        output=(weight + tilt) * plain.parts.data_output,
        history=-tilt,
        landing=plain.landing,
        landing_scale=plain.landing_scale,
    )


def predicted_step(
    time: float, start: Level, end: Level, predicted: Callable[[Level], Parts], exploding: bool = False, ancestral: bool = False
) -> Step:
    """Give a step of first order between two levels.

    Args:
        time: The time that the network is told.
        start: Level of x_s.
        end: Level of x_t, with the noise that an ancestral step adds.
        predicted: What the network predicts at a level.
        exploding: Whether data keep their size, and the network is shown points of unit variance.
        ancestral: Whether the step goes to less noise than that of ``end``, and new noise is added.
    """
    up = ancestral_noise(start, end) if ancestral else 0.0
    down = Level(end.alpha, (end.sigma**2 - up**2) ** 0.5)
    scales = [level.square**0.5 if exploding else 1.0 for level in (start, down)]
    told = down.sigma > 0 or predicted is not PREDICTIONS["sample"]  # data tell the noise of a point only where there is some
    landing = predicted(down) if told else None
    return replace(first_order(time, scales[0], start, down, predicted(start), landing, scales[1]), noise=up)


def joined(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Let each step of first order end where the next one begins; the last one stays as it is.

    Those of ``DDIMScheduler`` end ``1000 // N`` times earlier than they begin, which is another level where the N times are
    spaced otherwise: by ``linspace``, or by ``trailing`` where N does not divide 1000.
    """
    met = (
        first_order(step.time, step.scale, step.start, following.start, step.parts, following.parts, following.scale)
        for step, following in pairwise(steps)
    )
    return *met, steps[-1]


def ancestral_noise(start: Level, end: Level) -> float:
    """Give how much new noise an ancestral step of k-diffusion adds on its way from one level of noise to another."""
    return float((end.sigma**2 * (start.sigma**2 - end.sigma**2) / start.sigma**2) ** 0.5)


def _log_snr(end: Level, start: Level) -> float:
    """``lambda_end - lambda_start``."""
    return log(end.alpha / end.sigma) - log(start.alpha / start.sigma)
