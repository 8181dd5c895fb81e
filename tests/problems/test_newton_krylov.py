"""GMRES and Newton steps against linear algebra."""

import torch

from decinv.problems.newton_krylov import gmres


def test_gmres_solves_in_as_many_products_as_there_are_dimensions():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.eye(6, dtype=torch.float64) + 0.3 * torch.randn(3, 6, 6, generator=generator, dtype=torch.float64)
    right = torch.randn(3, 2, 3, generator=generator, dtype=torch.float64)

    def product(rows):
        return torch.einsum("bij,bj->bi", matrix, rows.flatten(1)).view_as(rows)

    expected = torch.linalg.solve(matrix, right.flatten(1)[..., None])[..., 0].view_as(right)
    torch.testing.assert_close(gmres(product, right, 6), expected)
    residuals = [float((product(gmres(product, right, count)) - right)[0].norm()) for count in (1, 2, 4)]
    assert residuals[0] > residuals[1] > residuals[2] > 0


def test_gmres_of_zero_is_zero():
    assert torch.equal(gmres(lambda rows: 2 * rows, torch.zeros(2, 4), 3), torch.zeros(2, 4))
