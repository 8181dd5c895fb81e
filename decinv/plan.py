"""A memory plan: what an inversion needs at its peak, known before it runs, without weights, computing or a GPU."""

import copy
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from decinv.codecs.base import Codec
from decinv.memory import PeakMemory
from decinv.modules.base import PRECISIONS, Inversion
from decinv.modules.sampler import SamplerInversion
from decinv.problems.base import Evaluation, Problem
from decinv.solver import Solver
from decinv.updates.stock import as_rule

MOST_VALUES = 2**16
"""Values of the image with which solver and update rule are tried out; what they need grows in proportion."""

MOST_ROWS = 3
"""Samples that are looked at together, at most; what is needed grows alike with each further one."""

STEADY = 3
"""Iterations without a new peak after which solver and update rule count as known."""


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
        total: Weights, images and peak of the whole batch.
        largest: The largest batch whose total is within the budget, 0 if not even one image is; ``None`` without a budget.
        frames: Frames of the clips; ``None`` for images.
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


def plan(
    inversion: Inversion,
    height: int,
    width: int,
    batch_size: int = 8,
    precision: str = "32-true",
    budget: int | None = None,
    frames: int | None = None,
) -> Plan:
    """Predict the memory of a chunk, from its first encode to its last step.

    The inversion's own problem is evaluated on tensors without content, which tells the memory of the codec, and of its graph
    where there is a gradient; its solver and update rule run for some iterations on a small problem without a codec, which
    tells the memory of latents, books and history. Not counted is what a kernel uses for itself (such as a convolution's
    workspace), what an allocator keeps, and what ``torch.compile`` saves. Mixed precision is that of the CPU; CUDA keeps
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

    Returns:
        The plan.

    Raises:
        ValueError: If an argument is out of range, or the inversion goes on to the noise.
    """
    if isinstance(inversion, SamplerInversion):
        raise ValueError(
            "Expected an inversion of a decoder to plan, but got SamplerInversion, whose diffusion model's memory is not "
            "predicted; plan the decoder with `--model DecoderInversion`, and leave --plan away here."
        )
    if batch_size < 1:
        raise ValueError(f"Expected `batch_size` to be at least 1, but got {batch_size}.")
    if budget is not None and not budget > 0:
        raise ValueError(f"Expected `budget` to be above 0 bytes, but got {budget}.")
    if precision not in PRECISIONS:
        raise ValueError(f"Expected `precision` to be one of {', '.join(PRECISIONS)}, but got {precision!r}.")
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        codec = _without_content(inversion.codec)
    weights = sum(tensor.nbytes for tensor in (*codec.parameters(), *codec.buffers()))
    size = (height, width) if frames is None else (frames, height, width)
    values = 3 * prod(size)
    image = values * torch.float32.itemsize

    @cache
    def measured(rows: int) -> _Need:
        with torch.device("cpu"), fake, _replaced_codec(inversion, codec):
            begin, held, evaluate, point = _problem_need(inversion, rows, size, precision)
        return _Need(begin, held, evaluate, *_solver_need(inversion, rows, point, values))

    def peak(rows: int) -> int:
        if rows <= MOST_ROWS:
            return measured(rows).peak
        last, before, further = measured(MOST_ROWS), measured(MOST_ROWS - 1), rows - MOST_ROWS
        return _Need(*(new + further * (new - old) for new, old in zip(last, before, strict=True))).peak

    def total(rows: int) -> int:
        return weights + rows * image + peak(rows)

    largest = None if budget is None else _largest(total, budget)
    return Plan(height, width, batch_size, weights, peak(1), peak(batch_size), total(batch_size), largest, frames)


def _largest(total: Callable[[int], int], budget: int) -> int:
    """Find the largest batch within the budget: its total grows with every image."""
    above = 1
    while total(above) <= budget:
        above *= 2
    return bisect_right(range(1, above), budget, key=total)


class _Need(NamedTuple):
    """What a chunk needs, in bytes; all grow in proportion with every sample after the first few.

    Attributes:
        begin: Peak of the problem from the images to the first point.
        held: What the problem keeps from then on.
        evaluate: Peak of one evaluation, above what the problem keeps.
        kept: What solver and update rule keep, at most, while the problem is evaluated.
        update: Their own peak.
    """

    begin: int
    held: int
    evaluate: int
    kept: int
    update: int

    @property
    def peak(self) -> int:
        """The peak of the whole chunk."""
        return max(self.begin, self.held + max(self.kept + self.evaluate, self.update))


def _problem_need(inversion: Inversion, rows: int, size: tuple[int, ...], precision: str) -> tuple[int, int, int, int]:
    """Evaluate the inversion's problem once on tensors without content; give its needs, and the values of a sample's point."""
    image = torch.empty(rows, 3, *size)
    with _autocast(precision):
        with PeakMemory("cpu") as begin:
            problem = inversion.problem(image)
            first = problem.start()
            point = torch.empty_like(first)
            del first
            held = begin.live - point.nbytes
        with torch.no_grad(), PeakMemory("cpu") as evaluate:
            problem.evaluate(point)
    return begin.bytes, held, evaluate.bytes, point[0].numel()


def _solver_need(inversion: Inversion, rows: int, point: int, image: int) -> tuple[int, int]:
    """Try solver and rule out on small samples, and scale what they need to samples of ``point`` and ``image`` values."""
    scale = max(1.0, image / MOST_VALUES)
    values = round(point / scale), round(image / scale)
    ends = [_try_out(inversion, rows, *values, leaving) for leaving in range(min(rows, 2))]
    return round(scale * max(kept for kept, _ in ends)), round(scale * max(peak for _, peak in ends))


def _try_out(inversion: Inversion, rows: int, point: int, image: int, leaving: int) -> tuple[int, int]:
    """Meter solver and rule until they need no more; then let samples leave, or end the chunk if ``leaving`` is 0."""
    stopping = replace(inversion.solver.stopping, rtol=0.0, patience=None)
    with torch.device("cpu"), torch.random.fork_rng([]), PeakMemory("cpu") as meter:
        parameter = nn.Parameter(torch.empty(0))
        solver = Solver(parameter, as_rule(inversion.update([parameter])), stopping)
        problem = _Blank(rows, point, image, meter)
        solver.start(problem)
        peak, since = meter.bytes, 0
        while solver.iteration < stopping.max_iters - 1 and since < STEADY:
            solver.step()
            peak, since = meter.bytes, since + 1 if meter.bytes == peak else 0
        problem.leaving = leaving
        if not leaving:
            solver.stopping = replace(stopping, max_iters=solver.iteration + 1)
        solver.step()
    return problem.kept, meter.bytes


class _Blank(Problem):
    """A problem of given sizes without content, which looks at what is alive whenever it is evaluated.

    Attributes:
        kept: The most that was alive then, in bytes.
        leaving: Samples that its next evaluation declares solved.
    """

    def __init__(self, rows: int, point: int, image: int, meter: PeakMemory) -> None:
        self.rows, self.values, self.image, self.meter = rows, point, image, meter
        self.kept = self.leaving = 0

    def start(self) -> Tensor:
        return torch.zeros(self.rows, self.values, 1, 1)

    def evaluate(self, point: Tensor) -> Evaluation:
        self.kept = max(self.kept, self.meter.live)
        merit = torch.ones(len(point))
        merit[: self.leaving] = 0
        return Evaluation(torch.rand_like(point), merit, torch.rand(len(point), self.image, 1, 1))

    def select(self, keep: Tensor) -> None:
        """Have nothing to select."""

    def latent(self, point: Tensor) -> Tensor:
        return point


def _without_content(codec: Codec) -> Codec:
    """Copy a codec, but for what its tensors hold; within a fake mode, that takes no memory."""
    copies: dict[int, Any] = {id(buffer): torch.empty_like(buffer, device="cpu") for buffer in codec.buffers()}
    for weight in codec.parameters():
        copies[id(weight)] = nn.Parameter(torch.empty_like(weight, device="cpu"), requires_grad=False)
    return copy.deepcopy(codec, copies)


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
