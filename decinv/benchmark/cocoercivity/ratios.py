"""How cocoercive the residual map is along a path, seen from a reference point: what the theorems of arXiv 2409.18442 ask."""

from typing import NamedTuple

import torch
from torch import Tensor

from decinv.benchmark.cocoercivity.visited import Visited
from decinv.metrics.cocoercivity import cocoercivity
from decinv.metrics.latent import nmse_db
from decinv.problems.base import norms


class Reference(NamedTuple):
    """What is taken for z_inf, for each of ``B`` images.

    Attributes:
        point: The point in scaled latents, ``(B, ...)``; nan where there is none.
        residual: T there.
        floor: Length of T(z) - T(z_inf) below which the ratio says nothing, ``(B,)``.
    """

    point: Tensor
    residual: Tensor
    floor: Tensor


class Ratios(NamedTuple):
    """What a path looks like from a reference, one value an image, ``(B,)``; nan where there is none.

    Attributes:
        smallest: min over k of c_k.
        used: Number of points that c_k was taken at.
        distance: ``||z_K - z_inf||`` in scaled latents, z_K the last finite point of the window.
        nmse_db: NMSE of z_K against the true latent, dB.
        reference_residual: ``||T(z_inf)|| / ||E(x)||``.
    """

    smallest: Tensor
    used: Tensor
    distance: Tensor
    nmse_db: Tensor
    reference_residual: Tensor


def ratios(path: Visited, reference: Reference, truth: Tensor, size: Tensor) -> Ratios:
    """Give ``c_k = <T(z_k) - T(z_inf), z_k - z_inf> / ||T(z_k) - T(z_inf)||^2`` of each image where it is smallest.

    T is the paper's E(D(.)) up to a constant, so c_k is the quantity of its Figures 2 and 4. Points at which the denominator's
    root is below the reference's floor are left out.

    Args:
        path: The path.
        reference: What is taken for z_inf.
        truth: True latents, scaled, ``(B, ...)``.
        size: ``||E(x)||``, by the factor of the scaling, ``(B,)``.
    """
    change, offset = path.residuals - reference.residual, path.points - reference.point
    values = cocoercivity(change.flatten(0, 1), offset.flatten(0, 1)).view(change.shape[:2])
    lengths = norms(change.flatten(0, 1)).view(change.shape[:2])
    usable = values.isfinite() & (lengths >= reference.floor)
    smallest = torch.where(usable, values, torch.inf).amin(0)
    numbers = torch.arange(len(path.points))[:, None]
    end = (path.residuals.flatten(2).isfinite().all(2) * numbers).amax(0)
    final = path.points[end, torch.arange(len(end))]
    return Ratios(
        torch.where(smallest.isfinite(), smallest, torch.nan),
        usable.sum(0),
        torch.where(reference.point.flatten(1).isfinite().all(1), norms(final - reference.point), torch.nan),
        nmse_db(final, truth),
        norms(reference.residual) / size,
    )
