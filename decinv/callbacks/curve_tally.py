"""What the curves of any number of samples come to, in memory that does not grow with it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from decinv.callbacks.curves import Curves
from decinv.callbacks.reservoir import Reservoir

Curve = NDArray[np.float64]

KEPT = 4096
"""Samples whose residuals are kept for the quartiles, 16 KiB an iteration; a median of as many is off by 0.8 % of the ranks."""


class CurveTally:
    """Summarise samples over as many iterations as the longest took; a sample that is done keeps its last value.

    Means, extremes and the number of active samples are those of all samples. The median and the quartiles are up to 4,096
    samples too, and beyond that those of 4,096 samples drawn uniformly from all; see ``Reservoir``.

    Attributes:
        count: Number of samples.
    """

    def __init__(self) -> None:
        """Start without a sample."""
        self.count = 0
        self._known = False
        self._kept: Reservoir[Tensor] = Reservoir(KEPT)
        # Over one iteration, whose values are carried on to all that follow.
        self._active = torch.zeros(1, dtype=torch.long)
        self._sums = torch.zeros(1, 4, dtype=torch.float64)
        self._worst = torch.full((1, 2), -torch.inf)

    def add(self, curves: Curves) -> None:
        """Add the samples of a chunk, at least one, over at least one iteration."""
        residual, nmse, psnr = _finite(curves.residual), _finite(curves.nmse_db), _finite(curves.psnr_db)
        sums = [nmse.nansum(1, dtype=torch.float64), _number(nmse), psnr.nansum(1, dtype=torch.float64), _number(psnr)]
        worst = torch.stack([_largest(residual), _largest(nmse)], dim=1)
        length = max(len(self._active), len(residual))
        self._sums = _extended(self._sums, length) + _extended(torch.stack(sums, dim=1), length)
        self._worst = torch.maximum(_extended(self._worst, length), _extended(worst, length))
        self._active = functional.pad(self._active, (0, length - len(self._active)))
        self._active[: len(residual)] += curves.active.sum(1)
        for curve in curves.residual.unbind(1):
            self._kept.add(curve.clone())
        self._known |= nmse.shape[1] > 0
        self.count += residual.shape[1]

    def summary(self) -> dict[str, Curve]:
        """Give ``(K,)`` for each name; values that are not finite are left out of means and extremes.

        Raises:
            ValueError: If there is no sample.
        """
        if not self.count:
            raise ValueError("Expected at least one sample to summarise, but got none; call `add` first.")
        table = torch.stack([_extended(curve, len(self._active)) for curve in self._kept.items], dim=1)
        lower, median, upper = np.quantile(table.numpy(), (0.25, 0.5, 0.75), axis=1, method="nearest")
        nmse, nmse_number, psnr, psnr_number = self._sums.unbind(1)
        curves = {
            "residual/median": median,
            "residual/lower_quartile": lower,
            "residual/upper_quartile": upper,
            "residual/worst": self._worst[:, 0].numpy(),
            "active_samples": self._active.numpy(),
            "psnr_db/mean": (psnr / psnr_number).numpy(),
        }
        if self._known:
            curves["nmse_db/mean"] = (nmse / nmse_number).numpy()
            curves["nmse_db/worst"] = self._worst[:, 1].numpy()
        return {name: np.where(np.isfinite(curve), curve, np.nan) for name, curve in curves.items()}


def _extended(table: Tensor, length: int) -> Tensor:
    """Repeat the last row."""
    return torch.cat([table, table[-1:].expand(length - len(table), *table.shape[1:])])


def _finite(table: Tensor) -> Tensor:
    return torch.where(table.isfinite(), table, torch.nan)


def _number(table: Tensor) -> Tensor:
    return (~table.isnan()).sum(1).double()


def _largest(table: Tensor) -> Tensor:
    """Give the largest value of each row, ``-inf`` where there is none."""
    return functional.pad(table.nan_to_num(nan=-torch.inf), (0, 1), value=-torch.inf).amax(1)
