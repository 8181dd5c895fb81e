"""What chunks of an inversion need, by the number of their samples."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from decinv.codecs.base import Codec
from decinv.memory import PeakMemory
from decinv.modules.base import Inversion
from decinv.placement import Placement
from decinv.plan.budget import PlannedBudget
from decinv.problems.base import Problem
from decinv.solver_memory import MOST_ROWS, beyond, solver_need
from decinv.weights import without_content

DEVICE, HOST = torch.device("cpu"), torch.device("meta")
"""What plays the codec's device, and what the host: autocast and kernels are those of the first, the second only holds."""


class Need(NamedTuple):
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
    """The first ones of ``Need``, and the values of a sample's point."""

    begin: int
    held: int
    evaluate: int
    point: int


class PlannedChunks:
    """What chunks of an inversion need, on tensors without content.

    Attributes:
        weights: Bytes of the codec's weights.
    """

    def __init__(self, inversion: Inversion, size: tuple[int, ...], precision: str, accelerator: bool) -> None:
        """Take what stays the same from chunk to chunk.

        Args:
            inversion: The inversion.
            size: Height and width of the images, before them the frames of clips.
            precision: The trainer's precision.
            accelerator: Whether the codec shall run on an accelerator.
        """
        self._inversion = inversion
        self._stopping = inversion.solver.stopping
        self._shape = (3, *size)
        self._image = prod(self._shape) * torch.float32.itemsize
        self._precision = precision
        self._accelerator = accelerator
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        with self._fake:
            self._codec = without_content(inversion.codec, inversion.codec, DEVICE)
        if self._codec.budget is not None:
            self._codec.budget = PlannedBudget(self._codec.budget.mib, DEVICE)
        self.weights = sum(tensor.nbytes for tensor in (*self._codec.parameters(), *self._codec.buffers()))
        self._placement = Placement(self._codec, inversion.update, self._stopping)
        self._coded, self._measured = cache(self._code), cache(self._measure)

    def total(self, rows: int) -> int:
        """Give the weights, images and peak of so many samples, on the codec's device."""
        known = self.need(rows)
        return self.weights + known.peak + (0 if known.host else rows * self._image)

    def need(self, rows: int) -> Need:
        """Give what so many samples need."""
        how = self._is_on_host(rows), 0 if self._codec.budget is None else self._codec.budget.reserved
        if rows <= MOST_ROWS:
            return self._measured(rows, *how)
        last, before = self._measured(MOST_ROWS, *how), self._measured(MOST_ROWS - 1, *how)
        grown = Need(*(beyond(rows, new, old) for new, old in zip(last, before, strict=True)))
        if self._codec.budget is None:
            return grown
        begin, held, evaluate, _ = self._coded(rows, *how)  # parts of a batch do not grow with it
        return grown._replace(begin=begin, held=held, evaluate=evaluate)

    def _is_on_host(self, rows: int) -> bool:
        if not self._accelerator or not self._inversion.may_be_on_host:
            return False
        with torch.device(DEVICE), self._fake, _autocast(self._precision):
            return self._placement.on_host(torch.empty(rows, *self._shape), HOST)

    @contextmanager
    def _blank(self, rows: int, host: bool) -> Iterator[Tensor]:
        """Give images without content, and let the inversion state its problems with the codec without content."""
        with torch.device(DEVICE), self._fake, _replaced_codec(self._inversion, self._codec):
            yield torch.empty(rows, *self._shape, device=HOST if host else DEVICE)

    def _problem(self, images: Tensor) -> Problem:
        """State the inversion's problem, as its solver does."""
        problem = self._inversion.problem(images)
        problem.magnifies = self._inversion.solver.rule.magnifies
        return problem

    def _code(self, rows: int, host: bool, reserved: int) -> _Coding:
        """Evaluate the problem once; ``reserved`` is what the codec's budget has now."""
        del reserved
        with self._blank(rows, host) as images, _autocast(self._precision):
            with PeakMemory(DEVICE) as begin:
                problem = self._problem(images)
                first = problem.start()
                point = torch.empty_like(first)
                del first
                held = begin.live - (point.nbytes if point.device == DEVICE else 0)
            with torch.no_grad(), PeakMemory(DEVICE) as evaluate:
                problem.evaluate(point)
        return _Coding(begin.bytes, held, evaluate.bytes, point[0].numel())

    def _descend(self, rows: int, host: bool) -> int:
        """Give the peak of an evaluation of the problem's descent, if all samples take part."""
        with self._blank(rows, host) as images, _autocast(self._precision), torch.no_grad():
            problem = self._problem(images)
            point = torch.empty_like(problem.start())
            with PeakMemory(DEVICE) as evaluate:
                problem.descent(torch.arange(rows, device=images.device)).evaluate(point)
        return evaluate.bytes

    def _measure(self, rows: int, host: bool, reserved: int) -> Need:
        """Measure what a chunk takes; ``reserved`` is what the codec's budget has now."""
        begin, held, evaluate, point = self._coded(rows, host, reserved)
        update, stopping = self._inversion.update, self._stopping
        kept, step = solver_need(update, stopping, rows, point, self._shape)
        descend = again = 0
        if stopping.gradient_steps:
            descend = self._descend(rows, host)
            shorter = replace(stopping, max_iters=stopping.gradient_steps, gradient_steps=0)
            again, last = solver_need(update, shorter, rows, point, self._shape)
            step = max(step, last)
        if host:
            return Need(begin, held, evaluate, descend, 0, 0, 0, rows * self._image + max(kept, step))
        return Need(begin, held, evaluate, descend, kept, step, again, 0)


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
