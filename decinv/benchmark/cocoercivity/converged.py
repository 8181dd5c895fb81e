"""A point at which T is really small, to take for the limit of a path."""

from functools import partial

from torch import Tensor

from decinv.benchmark.cocoercivity.visited import Visited, visit
from decinv.benchmark.measuring.methods import DecoderMethod
from decinv.codecs.base import Codec
from decinv.problems.decoder import DecoderProblem
from decinv.updates.anderson import Anderson


class StartedAt(DecoderProblem):
    """The decoder problem, started at points of one's own."""

    def __init__(self, codec: Codec, image: Tensor, first: Tensor) -> None:
        """Encode the images.

        Args:
            codec: The codec whose decoder is inverted.
            image: Images with shape ``(B, 3, H, W)`` in [-1, 1].
            first: Points in scaled latents, ``(B, ...)``.
        """
        super().__init__(codec, image)
        self.first = first

    def start(self) -> Tensor:
        """Give the points."""
        return self.first


def converge(codec: Codec, image: Tensor, first: Tensor, steps: int) -> Visited:
    """Go on from good points by Anderson acceleration that minimises T alone; the ``closest`` of its path is what to take.

    The default rule also weighs the pixel error, which cannot vanish for an image of 8 bits, so it does not bring T to zero.

    Args:
        codec: The codec whose decoder is inverted.
        image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
        first: Points in scaled latents, ``(B, ...)``.
        steps: Iterations; ``steps + 1`` points are evaluated, the first ones among them.
    """
    rule = partial(Anderson, pixel_weight=0.0, pull=0.0)
    method = DecoderMethod("converge", partial(StartedAt, first=first.to(image.device)), rule)
    return visit(method, codec, image, 0, steps)
