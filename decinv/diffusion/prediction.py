"""What a denoising network predicts, and how data and noise follow from it."""

from typing import NamedTuple


class Level(NamedTuple):
    """How much data and noise a point of a trajectory has: ``x = alpha x_0 + sigma eps``."""

    alpha: float
    sigma: float

    @property
    def square(self) -> float:
        """``alpha^2 + sigma^2``, the variance of x where data have unit variance."""
        return self.alpha**2 + self.sigma**2

    @property
    def ratio(self) -> float:
        """``sigma / alpha``, the noise over the data."""
        return self.sigma / self.alpha


def flow_level(sigma: float) -> Level:
    """Give the level of a straight path from data to noise with ``sigma`` of noise."""
    return Level(1 - sigma, sigma)


class Parts(NamedTuple):
    """Data and noise as combinations of a point x and the network's output m: ``point x + output m``."""

    data_point: float
    data_output: float
    noise_point: float
    noise_output: float


def epsilon(level: Level) -> Parts:
    """The noise: ``m = eps``.

    Raises:
        ValueError: If the level has no data, so that they cannot be told from noise.
    """
    alpha, sigma = level
    if alpha == 0:
        raise ValueError(
            "Expected some data in every point where the network predicts noise, but the first one is noise alone; choose a "
            "scheduler without `rescale_betas_zero_snr`, or with `prediction_type: v_prediction`."
        )
    return Parts(1 / alpha, -sigma / alpha, 0.0, 1.0)


def v_prediction(level: Level) -> Parts:
    """The velocity of ``x / n``, ``n^2 = alpha^2 + sigma^2``: ``m = (alpha eps - sigma x_0) / n`` (Salimans and Ho, 2022)."""
    alpha, sigma = level
    square = level.square
    length = square**0.5
    return Parts(alpha / square, -sigma / length, sigma / square, alpha / length)


def sample(level: Level) -> Parts:
    """The data: ``m = x_0``."""
    alpha, sigma = level
    return Parts(0.0, 1.0, 1 / sigma, -alpha / sigma)


def flow(level: Level) -> Parts:
    """The velocity of a straight path towards noise, ``m = eps - x_0``, where ``alpha + sigma = 1``."""
    alpha, sigma = level
    return Parts(1.0, -sigma, 1.0, alpha)


def reversed_flow(level: Level) -> Parts:
    """The velocity of a straight path towards data, ``m = x_0 - eps``, where ``alpha + sigma = 1`` (rectified flow)."""
    alpha, sigma = level
    return Parts(1.0, sigma, 1.0, -alpha)


PREDICTIONS = {
    "epsilon": epsilon,
    "v_prediction": v_prediction,
    "sample": sample,
    "flow_prediction": flow,
}
"""By the names that schedulers of diffusers have for them in ``prediction_type``."""
