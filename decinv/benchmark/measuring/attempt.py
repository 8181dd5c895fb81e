"""A method on its way through one chunk: the package's solver or a published loop, driven one iteration at a time."""

from typing import Protocol

from torch import Tensor

from decinv.benchmark.measuring.counting import CountingCodec
from decinv.benchmark.measuring.measure import begin, reported
from decinv.benchmark.measuring.methods import DecoderMethod
from decinv.benchmark.measuring.published import PublishedLoop, PublishedMethod
from decinv.codecs.base import Codec

AnyMethod = DecoderMethod | PublishedMethod
"""What can be attempted."""


class Attempt(Protocol):
    """What all attempts have in common."""

    @property
    def iteration(self) -> int:
        """Iterations done."""

    @property
    def done(self) -> bool:
        """Whether no step is left."""

    def step(self) -> None:
        """Run one iteration."""

    def latent(self) -> Tensor:
        """Give the raw latents ``(B, C, h, w)`` to report now."""

    def work(self) -> tuple[int, int, int]:
        """Give how many images were decoded, encoded (E(x) included) and differentiated so far."""


class SolverAttempt:
    """A method in the package's own solver."""

    def __init__(self, method: DecoderMethod, codec: Codec, image: Tensor, max_iters: int) -> None:
        """Start the solver; see ``begin_attempt``."""
        self.codec = CountingCodec(codec)
        self.solver = begin(method, self.codec, image, max_iters)

    @property
    def iteration(self) -> int:
        """Iterations done."""
        return self.solver.iteration

    @property
    def done(self) -> bool:
        """Whether every image is done."""
        return self.solver.done

    def step(self) -> None:
        """Run one iteration."""
        self.solver.step()

    def latent(self) -> Tensor:
        """Give the best latents so far, or the start before any step."""
        return reported(self.solver)

    def work(self) -> tuple[int, int, int]:
        """Give the counts of the codec."""
        return self.codec.decodes, self.codec.encodes, self.codec.backwards


def begin_attempt(method: AnyMethod, codec: Codec, image: Tensor, max_iters: int) -> Attempt:
    """Start a method on images.

    Args:
        method: The method.
        codec: The codec whose decoder is inverted.
        image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
        max_iters: Iterations of the run; 0 for the start alone.

    Returns:
        The attempt before its first step.
    """
    if isinstance(method, PublishedMethod):
        return PublishedLoop(method, codec, image, max_iters)
    return SolverAttempt(method, codec, image, max_iters)
