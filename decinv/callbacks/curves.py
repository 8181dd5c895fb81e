"""Curves over the iterations: what would be reported of each sample if the inversion stopped there."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """Tables ``(K, N)`` of N samples over K iterations, each value that of the best point so far.

    A sample that is done keeps its last value, so that every iteration looks at the same samples. The first iteration is the
    start, since an iteration evaluates a point before it moves it.

    Attributes:
        residual: Relative residuals; ``inf`` where no point was finite so far.
        active: Whether the sample was still being iterated.
        nmse_db: NMSE in dB where the true latents are known, else without samples, ``(K, 0)``.
        psnr_db: PSNR in dB of D(z), not clamped, padding included.
    """

    residual: Tensor
    active: Tensor
    nmse_db: Tensor
    psnr_db: Tensor

    @classmethod
    def of(cls, residual: Tensor, iterations: Tensor, nmse_db: Tensor | None, psnr_db: Tensor) -> "Curves":
        """Make curves from what the iterations saw, ``(K, N)`` each, nan after a sample ended.

        Args:
            residual: Relative residuals.
            iterations: Iterations ``(N,)`` that each sample took.
            nmse_db: NMSE in dB, if known.
            psnr_db: PSNR in dB.
        """
        lowest, best = residual.nan_to_num(nan=torch.inf).cummin(dim=0)
        active = torch.arange(len(residual))[:, None] < iterations
        nmse = residual[:, :0] if nmse_db is None else nmse_db.gather(0, best)
        return cls(lowest, active, nmse, psnr_db.gather(0, best))

    @classmethod
    def join(cls, parts: "list[Curves]") -> "Curves":
        """Put the samples of several chunks side by side, over as many iterations as the longest took."""
        longest = max(len(part.residual) for part in parts)
        return cls(
            torch.cat([_extended(part.residual, longest) for part in parts], dim=1),
            torch.cat([functional.pad(part.active, (0, 0, 0, longest - len(part.active))) for part in parts], dim=1),
            torch.cat([_extended(part.nmse_db, longest) for part in parts], dim=1),
            torch.cat([_extended(part.psnr_db, longest) for part in parts], dim=1),
        )

    def summary(self) -> dict[str, Curve]:
        """Summarise the samples: ``(K,)`` for each name; values that are not finite are left out of means and extremes."""
        lower, median, upper = np.quantile(self.residual.numpy(), (0.25, 0.5, 0.75), axis=1, method="nearest")
        curves = {
            "residual/median": median,
            "residual/lower_quartile": lower,
            "residual/upper_quartile": upper,
            "residual/worst": _finite(self.residual).nan_to_num(nan=-torch.inf).amax(1).numpy(),
            "active_samples": self.active.sum(1).numpy(),
            "psnr_db/mean": _finite(self.psnr_db).nanmean(1).numpy(),
        }
        if self.nmse_db.shape[1]:
            nmse = _finite(self.nmse_db)
            curves["nmse_db/mean"] = nmse.nanmean(1).numpy()
            curves["nmse_db/worst"] = nmse.nan_to_num(nan=-torch.inf).amax(1).numpy()
        return {name: np.where(np.isfinite(curve), curve, np.nan) for name, curve in curves.items()}


def _extended(table: Tensor, length: int) -> Tensor:
    """Repeat the last row."""
    return torch.cat([table, table[-1:].expand(length - len(table), -1)])


def _finite(table: Tensor) -> Tensor:
    return torch.where(table.isfinite(), table, torch.nan)
