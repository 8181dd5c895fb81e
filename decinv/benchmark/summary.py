"""The error of many images in three numbers."""

from typing import NamedTuple

from torch import Tensor

from decinv.metrics.samples import Interval


class Summary(NamedTuple):
    """NMSE over all images.

    Attributes:
        mean: Mean, dB.
        half_width: Half-width of the normal 95 % interval of that mean, dB; nan if a value is not finite.
        worst: Largest NMSE of an image, dB.
    """

    mean: float
    half_width: float
    worst: float


def summarise(nmse_db: Tensor) -> Summary:
    """Summarise the NMSE ``(B,)`` of images, dB."""
    interval = Interval.of(nmse_db)
    half_width = float("nan") if interval.left_out else float(interval.half_width)
    return Summary(float(nmse_db.mean()), half_width, float(nmse_db.max()))
