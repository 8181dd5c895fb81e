"""One step of a sampler, inverted by Newton's method without a Jacobian matrix."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from decinv.diffusion.process import Process
from decinv.diffusion.step import Step
from decinv.forward_mode import tangent_of
from decinv.problems.base import Evaluation, norms
from decinv.problems.step import StepProblem


class NewtonKrylovProblem(StepProblem):
    """``r = J^-1 (step(x_s) - x_t)``, J the step's Jacobian at x_s, so that a forward step of size 1 is Newton's.

    The linear system is solved for each sample by GMRES (Saad and Schultz, SIAM J. Sci. Stat. Comput. 1986) with
    Jacobian-vector products by forward-mode differentiation; each counts as two predictions. A sample that is inverted already
    needs none, and has ``r = 0``.
    """

    def __init__(self, process: Process, step: Step, target: Tensor, start: Tensor, products: int, rtol: float = 0.0) -> None:
        """State the problem.

        Args:
            process: The forward process.
            step: One of its steps, of first order.
            target: x_t, the points ``(B, C, h, w)`` to which the step shall lead.
            start: Where to start, of the same shape.
            products: Jacobian-vector products of one Newton step, at least 1.
            rtol: Merit down to which a sample is inverted, at least 0.
        """
        super().__init__(process, step, target, start)
        self.products = products
        self.rtol = rtol

    @torch.no_grad()
    def evaluate(self, point: Tensor) -> Evaluation:
        """Take the step, and solve for the correction."""
        residual = self.reached(point) - self.target
        correction = torch.zeros_like(residual)
        left = ~((norms(residual) / self.size).double() <= self.rtol)  # as the solver will judge it
        if left.any():
            correction[left] = self._correction(point[left], residual[left], self.rows[left])
        return self.judged(residual, correction)

    def _correction(self, point: Tensor, residual: Tensor, rows: Tensor) -> Tensor:
        """Solve for the samples ``rows``."""

        def product(direction: Tensor) -> Tensor:
            exact = torch.autocast(point.device.type, enabled=False)  # which leaves tangents of convolutions as they are
            with exact, self.process.uncounted():
                tangent = tangent_of(partial(self._map, rows=rows), point, direction)
            self.process.count(rows, 2)
            return tangent / self.step.slope

        return gmres(product, residual / self.step.slope, self.products)

    def _map(self, point: Tensor, rows: Tensor) -> Tensor:
        return self.step(point, self.process.predict(self.step, point, rows))


def gmres(product: Callable[[Tensor], Tensor], right: Tensor, iterations: int) -> Tensor:
    """Solve ``A x = right`` for each row, from 0, without restarts.

    Args:
        product: Multiplies rows by A; rows do not mix.
        right: The right-hand sides ``(B, ...)``.
        iterations: Products, at least 1.

    Returns:
        The x of smallest residual in the Krylov space of that many dimensions; 0 where it is not finite.
    """
    rows, shape = len(right), right.shape
    size = torch.linalg.vector_norm(right.flatten(1), dim=1)
    basis = [right.flatten(1) / size.clamp_min(torch.finfo(right.dtype).tiny)[:, None]]
    hessenberg = right.new_zeros(rows, iterations + 1, iterations, dtype=torch.float64)
    for column in range(iterations):
        vector = product(basis[-1].view(shape)).flatten(1)
        for row, earlier in enumerate(basis):
            part = (vector * earlier).sum(1)
            hessenberg[:, row, column] = part
            vector = vector - part[:, None] * earlier
        length = torch.linalg.vector_norm(vector, dim=1)
        hessenberg[:, column + 1, column] = length
        basis.append(vector / length.clamp_min(torch.finfo(right.dtype).tiny)[:, None])
    first = hessenberg.new_zeros(rows, iterations + 1, 1)
    first[:, 0, 0] = size
    weights = (torch.linalg.pinv(hessenberg.nan_to_num()) @ first)[..., 0].to(right.dtype)
    found = (torch.stack(basis[:-1], dim=1) * weights[..., None]).sum(1).view(shape)  # in full precision under autocast, too
    return torch.where(found.isfinite(), found, 0.0)
