import torch
from torch import nn

from decinv.forward_mode import tangent_of


def test_groups_of_images_that_lie_channels_last_are_differentiated_through() -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(2, 4).double()
    point, direction = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64).unbind(0)

    def work(rows: torch.Tensor) -> torch.Tensor:
        return norm(rows.contiguous(memory_format=torch.channels_last)).square()

    difference = (work(point + 1e-5 * direction) - work(point - 1e-5 * direction)) / 2e-5
    torch.testing.assert_close(tangent_of(work, point, direction), difference, rtol=1e-5, atol=1e-6)
