"""The race: all methods on one chunk in one pass that takes both the time and the quality of what they report."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.batch import Batch
from decinv.benchmark.measuring.attempt import AnyMethod, begin_attempt
from decinv.benchmark.measuring.measure import Quality, judge, now
from decinv.codecs.base import Codec

WARM_UP = 2
"""Iterations of each method before any is timed, so that kernels are chosen and memory is reserved."""


class Entry(NamedTuple):
    """A method that takes part.

    Attributes:
        method: The method.
        marks: Increasing numbers of iterations after which it reports.
    """

    method: AnyMethod
    marks: Sequence[int]


class Finding(NamedTuple):
    """What a method reported after some iterations on a chunk of ``B`` images.

    Attributes:
        quality: How good it is.
        seconds: Seconds that the chunk took, from the images to the latents; the update after the last evaluation counts, but
            for a run's last.
    """

    quality: Quality
    seconds: float


Findings = dict[str, dict[int, Finding]]
"""By name of the method and number of iterations."""


def warm_up(entries: Sequence[Entry], codec: Codec, image: Tensor) -> None:
    """Run a few iterations of each method on images ``(B, 3, H, W)``, for nothing."""
    for method, _ in entries:
        attempt = begin_attempt(method, codec, image, WARM_UP)
        while attempt.iteration < WARM_UP and not attempt.done:
            attempt.step()


def race(entries: Sequence[Entry], codec: Codec, batch: Batch) -> Findings:
    """Run all methods on one chunk, timing nothing but their own steps.

    The methods take turns, one iteration each, so that a machine that slows down for a while slows them alike.

    Args:
        entries: The methods, each with the numbers of iterations after which it reports.
        codec: The codec whose decoder is inverted.
        batch: Images with their true latents, on the codec's device.
    """
    with torch.no_grad():
        target = codec.encode(batch.image)
    found: Findings = {method.name: {} for method, _ in entries}
    running = [
        _run(method, run, codec, batch, target, found[method.name]) for method, marks in entries for run in method.runs(marks)
    ]
    while running:
        running = [run for run in running if next(run, False) is None]
    return found


def _run(
    method: AnyMethod, marks: Sequence[int], codec: Codec, batch: Batch, target: Tensor, found: dict[int, Finding]
) -> Iterator[None]:
    """Go one iteration further whenever resumed, on the clock, and judge the latents at each mark, off the clock."""
    began = now(batch.image.device)
    attempt = begin_attempt(method, codec, batch.image, marks[-1])
    spent = now(batch.image.device) - began
    for mark in marks:
        while attempt.iteration < mark and not attempt.done:
            yield
            began = now(batch.image.device)
            attempt.step()
            spent += now(batch.image.device) - began
        found[mark] = Finding(judge(codec, batch, target, attempt.latent(), attempt.work()), spent)
