"""The plan of an inversion of images, or clips, of one size."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from decinv.modules.base import PRECISIONS, Inversion
from decinv.modules.sampler import SamplerInversion
from decinv.plan.chunks import PlannedChunks
from decinv.ranges import refuse_below

MOST_SAMPLES = 2**20
"""The largest batch that is found."""


@dataclass(frozen=True)
class Plan:
    """Memory of an inversion of images, or clips, of one size, in bytes.

    Attributes:
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        batch_size: Images, or clips, that are inverted together.
        weights: The codec's weights.
        single: Peak of one image alone, above weights and image, as ``PeakMemory`` counts it and ``results.csv`` reports it.
        peak: The same of the whole batch.
        total: Weights, images and peak of the whole batch, on the codec's device.
        largest: The largest batch whose total is within the budget, 0 if not even one image is; ``None`` without a budget.
        frames: Frames of the clips; ``None`` for images.
        host: Images, latents and solver state of the whole batch where these are on the host, and then no part of peak and
            total; else 0.
    """

    height: int
    width: int
    batch_size: int
    weights: int
    single: int
    peak: int
    total: int
    largest: int | None
    frames: int | None = None
    host: int = 0


def refuse_to_plan(kind: type) -> None:
    """Refuse inversions whose memory is not predicted.

    Raises:
        ValueError: If they go on to the noise.
    """
    if issubclass(kind, SamplerInversion):
        raise ValueError(
            "Expected an inversion of a decoder to plan, but got SamplerInversion, whose diffusion model's memory is not "
            "predicted; plan the decoder with `--model DecoderInversion`, and leave --plan away here."
        )


def plan(
    inversion: Inversion,
    height: int,
    width: int,
    batch_size: int = 8,
    precision: str = "32-true",
    budget: int | None = None,
    frames: int | None = None,
    accelerator: bool = False,
) -> Plan:
    """Predict the memory of a chunk, from its first encode to its last step.

    The inversion's own problem is evaluated on tensors without content, which tells the memory of the codec, and of its graph
    where there is a gradient; its solver and update rule run for some iterations on a small problem without a codec, which
    tells the memory of latents, books and history. Not counted is what a kernel uses for itself (such as a convolution's
    workspace), what an allocator keeps, what ``torch.compile`` saves, and the other image of each sample that is answered near
    one (``decinv.problems.DecoderProblem``). Mixed precision is that of the CPU; CUDA keeps
    normalisations in float32 in addition.

    Args:
        inversion: The inversion, on any device; made within ``with torch.device("meta")`` its codec needs no weights.
        height: Height of the images in pixels, a multiple of the codec's stride.
        width: Width of the images in pixels, a multiple of the codec's stride.
        batch_size: Images, or clips, that are inverted together, at least 1.
        precision: The trainer's precision, one of ``PRECISIONS``.
        budget: Bytes that weights, images and peak may take, above 0; ``None`` for no question.
        frames: Frames of a clip, for a codec of clips, or for clips that a codec of images shall invert as one sample each;
            ``None`` for images, and for clips whose frames are samples of their own.
        accelerator: Whether the codec shall run on an accelerator, so that by its own memory budget the solver's state may be
            on the host; see ``decinv.placement.Placement``.

    Returns:
        The plan.

    Raises:
        ValueError: If an argument is out of range, or the inversion goes on to the noise.
    """
    refuse_to_plan(type(inversion))
    refuse_below(1, batch_size=batch_size)
    if budget is not None and not budget > 0:
        raise ValueError(f"Expected `budget` to be above 0 bytes, but got {budget}.")
    if precision not in PRECISIONS:
        raise ValueError(f"Expected `precision` to be one of {', '.join(PRECISIONS)}, but got {precision!r}.")
    chunks = PlannedChunks(inversion, (height, width) if frames is None else (frames, height, width), precision, accelerator)
    largest = None if budget is None else _largest(chunks.total, budget)
    whole, total = chunks.need(batch_size), chunks.total(batch_size)
    return Plan(height, width, batch_size, chunks.weights, chunks.need(1).peak, whole.peak, total, largest, frames, whole.host)


def _largest(total: Callable[[int], int], budget: int) -> int:
    """Find the largest batch within the budget: its total grows with every image, or stays where all is on the host."""
    above = 1
    while total(above) <= budget:
        if above == MOST_SAMPLES:
            return above
        above *= 2
    return bisect_right(range(1, above), budget, key=total)
