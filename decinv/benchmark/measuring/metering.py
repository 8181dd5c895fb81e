"""The peak memory of a method, absolutely and against that of the codec alone."""

from typing import NamedTuple

import torch
from torch import Tensor

from decinv.benchmark.measuring.attempt import AnyMethod, begin_attempt
from decinv.benchmark.measuring.published import PublishedMethod
from decinv.codecs.base import Codec
from decinv.memory import PeakMemory

METERED = 25
"""Iterations that are metered: after so many the history of every rule is full, and no method's peak rises any more."""


class Memory(NamedTuple):
    """Peak memory beyond the codec's weights and the images.

    Attributes:
        mib: MiB for each of the images that are inverted at once.
        passes: The same peak over that of encoding and decoding as many images once, without a solver.
    """

    mib: float
    passes: float


def measure_memory(method: AnyMethod, codec: Codec, image: Tensor, max_iters: int) -> Memory:
    """Meter a method on one chunk for its first ``METERED`` iterations.

    Args:
        method: The method; a published loop is metered on the first image, since it inverts them one by one.
        codec: The codec whose decoder is inverted.
        image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
        max_iters: Iterations that the run is for; 0 for the start alone.
    """
    image = image[:1] if isinstance(method, PublishedMethod) else image
    with PeakMemory(image.device) as peak:
        attempt = begin_attempt(method, codec, image, max_iters)
        while attempt.iteration < (METERED if max_iters else 0) and not attempt.done:
            attempt.step()
    return Memory(peak.mib / len(image), peak.mib / measure_pass(codec, image))


@torch.no_grad()
def measure_pass(codec: Codec, image: Tensor) -> float:
    """Give the peak memory of encoding images ``(B, 3, H, W)`` and decoding the latents, MiB."""
    with PeakMemory(image.device) as peak:
        codec.decode(codec.encode(image))
    return peak.mib
