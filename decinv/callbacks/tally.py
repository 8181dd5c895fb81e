"""What the rows of a run come to, in memory that does not grow with their number."""

from collections import Counter
from collections.abc import Iterable

import torch

from decinv.callbacks.reservoir import Reservoir
from decinv.metrics.samples import Moments
from decinv.rows import Row
from decinv.status import Status

KEPT = 65536
"""Residuals that are kept for the median, which beyond so many is off by 0.2 % of the ranks."""


class Tally:
    """Summarise rows; values that are not known are left out.

    Attributes:
        statuses: Number of rows of each status.
        nmse_db: NMSE of the latents in dB.
        noise_nmse_db: NMSE of the noise in dB, where samplers are inverted.
        round_trip_nmse_db: NMSE of the images sampled from it in dB.
        residual: Relative residuals.
        psnr_db: PSNR of D(z) in dB.
        seconds: Seconds of computing.
        peak_mib: Peak memory in MiB.
    """

    def __init__(self) -> None:
        """Start without a row."""
        self.statuses: Counter[Status] = Counter()
        self.nmse_db = Moments()
        self.noise_nmse_db = Moments()
        self.round_trip_nmse_db = Moments()
        self.residual = Moments()
        self.psnr_db = Moments()
        self.seconds = Moments()
        self.peak_mib = Moments()
        self._residuals: Reservoir[float] = Reservoir(KEPT)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Tally":
        """Summarise rows, which may come one by one."""
        tally = cls()
        for row in rows:
            tally.add(row)
        return tally

    def add(self, row: Row) -> None:
        """Add a row."""
        self.statuses[row.status] += 1
        columns = (
            (self.nmse_db, row.nmse_db),
            (self.noise_nmse_db, row.noise_nmse_db),
            (self.round_trip_nmse_db, row.round_trip_nmse_db),
            (self.residual, row.residual),
            (self.psnr_db, row.psnr_db),
            (self.seconds, row.seconds),
            (self.peak_mib, row.peak_mib),
        )
        for moments, value in columns:
            if value is not None:
                moments.add(value)
        if row.residual is not None:
            self._residuals.add(row.residual)

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.statuses.total()

    @property
    def median_residual(self) -> float:
        """Median of the relative residuals, of at least one; beyond 65,536 of them that of as many, drawn uniformly."""
        return float(torch.tensor(self._residuals.items, dtype=torch.float64).quantile(0.5))
