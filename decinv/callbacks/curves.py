"""Curves over the iterations: what would be reported of each sample if the inversion stopped there."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Curves:
    """Tables ``(K, N)`` of a chunk's N samples over K iterations, each value that of the best point so far.

    That is the one which would be reported, by residual and pixel error together (``decinv.solver.Solver``), so its residual
    may be more than the smallest one. A sample that is done keeps its last value, so that every iteration looks at the same
    samples. The first iteration is the start, since an iteration evaluates a point before it moves it. Where problems are
    solved one after another, the best point is that of the present one. Of iterations that nobody saw, it is the one of the
    smallest residual.

    Attributes:
        residual: Relative residuals; ``inf`` where no point was finite so far.
        active: Whether the sample was still being iterated.
        nmse_db: NMSE in dB where the true latents are known, else without samples, ``(K, 0)``; nan where the best point is
            one of an iteration that nobody saw.
        psnr_db: PSNR in dB of D(z), not clamped, padding included; nan likewise. That of the latent is kept while noise is
            looked for.
    """

    residual: Tensor
    active: Tensor
    nmse_db: Tensor
    psnr_db: Tensor

    @classmethod
    def of(
        cls,
        residual: Tensor,
        iterations: Tensor,
        nmse_db: Tensor | None,
        psnr_db: Tensor,
        better: Tensor | None = None,
        problems: tuple[int, ...] = (),
        pixels: int | None = None,
    ) -> "Curves":
        """Make curves from what the iterations saw, ``(K, N)`` each, nan after a sample ended.

        Args:
            residual: Relative residuals.
            iterations: Iterations ``(N,)`` that each sample took.
            nmse_db: NMSE in dB, if known.
            psnr_db: PSNR in dB.
            better: Which points are the best ones of their samples so far: 1 or 0, nan where nobody saw it; by default nobody.
            problems: Iterations of each problem, where there are several.
            pixels: How many of the iterations, the first ones, look at images; by default all.
        """
        known = residual.nan_to_num(nan=torch.inf)
        seen = torch.full_like(residual, torch.nan) if better is None else better
        lengths = list(problems or (len(residual),))
        firsts = torch.tensor([0, *problems[:-1]]).cumsum(0).tolist()
        parts = zip(torch.split(known, lengths), torch.split(seen, lengths), firsts, strict=True)
        best = torch.cat([_best(part, chosen) + first for part, chosen, first in parts])
        active = ~residual.isnan() if problems else torch.arange(len(residual))[:, None] < iterations
        nmse = residual[:, :0] if nmse_db is None else nmse_db.gather(0, best)
        psnr = psnr_db.gather(0, best)
        if pixels is not None:
            psnr[pixels:] = psnr[pixels - 1] if pixels else torch.nan
        return cls(known.gather(0, best), active, nmse, psnr)


def _best(residual: Tensor, better: Tensor) -> Tensor:
    """Give the iteration ``(K, N)`` of the best point so far of one problem."""
    steps = torch.arange(len(residual))[:, None]
    lowest = (residual.cummin(dim=0).indices == steps) & residual.isfinite()
    chosen = torch.where(better.isnan(), lowest, better > 0)
    return torch.where(chosen, steps, 0).cummax(dim=0).values
