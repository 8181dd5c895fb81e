"""A memory plan: what an inversion needs at its peak, known before it runs, without weights, computing or a GPU."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from decinv.codecs.base import Codec
from decinv.memory import PeakMemory
from decinv.modules.base import PRECISIONS, Inversion
from decinv.modules.sampler import SamplerInversion
from decinv.placement import Placement
from decinv.planned_budget import PlannedBudget
from decinv.ranges import refuse_below
from decinv.solver_memory import MOST_ROWS, beyond, solver_need
from decinv.weights import without_content

DEVICE, HOST = torch.device("cpu"), torch.device("meta")
"""What plays the codec's device, and what the host: autocast and kernels are those of the first, the second only holds."""

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
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        codec = without_content(inversion.codec, inversion.codec, DEVICE)
    if codec.budget is not None:
        codec.budget = PlannedBudget(codec.budget.mib, DEVICE)
    weights = sum(tensor.nbytes for tensor in (*codec.parameters(), *codec.buffers()))
    size = (height, width) if frames is None else (frames, height, width)
    shape = (3, *size)
    image = prod(shape) * torch.float32.itemsize
    stopping = inversion.solver.stopping
    placement = Placement(codec, inversion.update, stopping)

    def is_on_host(rows: int) -> bool:
        with torch.device(DEVICE), fake, _autocast(precision):
            return accelerator and inversion.may_be_on_host and placement.on_host(torch.empty(rows, 3, *size), HOST)

    @contextmanager
    def blank(rows: int, host: bool) -> Iterator[Tensor]:
        with torch.device(DEVICE), fake, _replaced_codec(inversion, codec):
            yield torch.empty(rows, 3, *size, device=HOST if host else DEVICE)

    @cache
    def coded(rows: int, host: bool, reserved: int) -> _Coding:
        del reserved  # it is what the codec's budget has now
        with blank(rows, host) as images:
            return _coding_need(inversion, images, precision)

    @cache
    def measured(rows: int, host: bool, reserved: int) -> _Need:
        begin, held, evaluate, point = coded(rows, host, reserved)
        kept, update = solver_need(inversion.update, stopping, rows, point, shape)
        descend = again = 0
        if stopping.gradient_steps:
            with blank(rows, host) as images:
                descend = _descent_need(inversion, images, precision)
            shorter = replace(stopping, max_iters=stopping.gradient_steps, gradient_steps=0)
            again, last = solver_need(inversion.update, shorter, rows, point, shape)
            update = max(update, last)
        if host:
            return _Need(begin, held, evaluate, descend, 0, 0, 0, rows * image + max(kept, update))
        return _Need(begin, held, evaluate, descend, kept, update, again, 0)

    def need(rows: int) -> _Need:
        how = is_on_host(rows), 0 if codec.budget is None else codec.budget.reserved
        if rows <= MOST_ROWS:
            return measured(rows, *how)
        last, before = measured(MOST_ROWS, *how), measured(MOST_ROWS - 1, *how)
        grown = _Need(*(beyond(rows, new, old) for new, old in zip(last, before, strict=True)))
        if codec.budget is None:
            return grown
        begin, held, evaluate, _ = coded(rows, *how)  # parts of a batch do not grow with it
        return grown._replace(begin=begin, held=held, evaluate=evaluate)

    def total(rows: int) -> int:
        known = need(rows)
        return weights + known.peak + (0 if known.host else rows * image)

    largest = None if budget is None else _largest(total, budget)
    whole = need(batch_size)
    return Plan(height, width, batch_size, weights, need(1).peak, whole.peak, total(batch_size), largest, frames, whole.host)


def _largest(total: Callable[[int], int], budget: int) -> int:
    """Find the largest batch within the budget: its total grows with every image, or stays where all is on the host."""
    above = 1
    while total(above) <= budget:
        if above == MOST_SAMPLES:
            return above
        above *= 2
    return bisect_right(range(1, above), budget, key=total)


class _Need(NamedTuple):
    """What a chunk needs, in bytes; all grow in proportion with every sample after the first few.

    Attributes:
        begin: Peak of the problem from the images to the first point.
        held: What the problem keeps from then on.
        evaluate: Peak of one evaluation, above what the problem keeps.
        descend: The same of the samples' descent, where there is one; else 0.
        kept: What solver and update rule keep, at most, while the problem is evaluated.
        update: Their own peak.
        again: What they keep in the descent.
        host: What is on the host of images, solver and update rule, where they are there; then the last three are 0.
    """

    begin: int
    held: int
    evaluate: int
    descend: int
    kept: int
    update: int
    again: int
    host: int

    @property
    def peak(self) -> int:
        """The peak of the whole chunk."""
        return max(self.begin, self.held + max(self.kept + self.evaluate, self.update, self.again + self.descend))


class _Coding(NamedTuple):
    """The first ones of ``_Need``, and the values of a sample's point."""

    begin: int
    held: int
    evaluate: int
    point: int


def _coding_need(inversion: Inversion, image: Tensor, precision: str) -> _Coding:
    """Evaluate the inversion's problem once for images without content."""
    with _autocast(precision):
        with PeakMemory(DEVICE) as begin:
            problem = inversion.problem(image)
            problem.magnifies = inversion.solver.rule.magnifies
            first = problem.start()
            point = torch.empty_like(first)
            del first
            held = begin.live - (point.nbytes if point.device == DEVICE else 0)
        with torch.no_grad(), PeakMemory(DEVICE) as evaluate:
            problem.evaluate(point)
    return _Coding(begin.bytes, held, evaluate.bytes, point[0].numel())


def _descent_need(inversion: Inversion, image: Tensor, precision: str) -> int:
    """Give the peak of an evaluation of the problem's descent, if all samples take part."""
    with _autocast(precision), torch.no_grad():
        problem = inversion.problem(image)
        problem.magnifies = inversion.solver.rule.magnifies
        point = torch.empty_like(problem.start())
        with PeakMemory(DEVICE) as evaluate:
            problem.descent(torch.arange(len(image), device=image.device)).evaluate(point)
    return evaluate.bytes


@contextmanager
def _replaced_codec(inversion: Inversion, codec: Codec) -> Iterator[None]:
    """Let the inversion state its problems with another codec for a while."""
    own = inversion.codec
    inversion.codec = codec
    try:
        yield
    finally:
        inversion.codec = own


def _autocast(precision: str) -> AbstractContextManager[object]:
    """Compute as the trainer's precision says."""
    if precision == "32-true":
        return nullcontext()
    return torch.autocast("cpu", torch.bfloat16 if precision == "bf16-mixed" else torch.float16)
