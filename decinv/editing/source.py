"""An image that is edited, as what it was made by."""

from typing import NamedTuple

from torch import Tensor

from decinv.diffusion.process import Process, Visited


class Source(NamedTuple):
    """One image, inverted.

    Attributes:
        name: Its name.
        number: Its number in the run, which seeds what is drawn for it.
        size: Height and width of the image without its padding, pixels.
        stride: Pixels along one side of a latent cell.
        process: The forward process of its own prompt, of one sample.
        trajectory: The points that lead from its noise to its latent, each ``(1, C, h, w)``.
    """

    name: str
    number: int
    size: tuple[int, int]
    stride: int
    process: Process
    trajectory: tuple[Visited, ...]

    @property
    def latent(self) -> Tensor:
        """The scaled latent ``(1, C, h, w)`` that its noise leads to."""
        return self.trajectory[-1].following
