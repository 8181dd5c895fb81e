"""Measure methods of decoder inversion on the same images: quality, work, time and memory, each in a pass of its own."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from decinv.batch import Batch
from decinv.benchmark.counting import CountingCodec
from decinv.benchmark.methods import Method
from decinv.codecs.base import Codec
from decinv.memory import PeakMemory
from decinv.metrics.latent import nmse_db
from decinv.metrics.pixel import psnr_db
from decinv.problems.base import norms
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates.forward import ForwardStep
from decinv.updates.stock import as_rule


class Quality(NamedTuple):
    """How good the latents of ``B`` images are, and what they took.

    Attributes:
        nmse_db: ``10 log10(||z - z*||^2 / ||z*||^2)`` in scaled latents, ``(B,)``, dB.
        psnr_db: Peak signal-to-noise ratio of D(z), clamped to [-1, 1], against the image, ``(B,)``, dB.
        residual: ``||E(D(z)) - E(x)|| / ||E(x)||`` in raw latents, ``(B,)``.
        decodes: Decodes for each image, the mean over the chunk, ``(B,)``; so are the two below.
        encodes: Encodes for each image, E(x) included, ``(B,)``.
        backwards: Backward passes through the decoder for each image, ``(B,)``.
    """

    nmse_db: Tensor
    psnr_db: Tensor
    residual: Tensor
    decodes: Tensor
    encodes: Tensor
    backwards: Tensor


def begin(method: Method, codec: Codec, image: Tensor, max_iters: int) -> Solver:
    """Start a method on images as the product does, with a stopping rule that lets it run to the end.

    Args:
        method: The method.
        codec: The codec whose decoder is inverted.
        image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
        max_iters: Iterations of the run; 0 for the start alone.

    Returns:
        The solver before its first step.
    """
    point = nn.Parameter(torch.empty(0, device=image.device))
    rule = as_rule((method.rule or ForwardStep)([point]))
    solver = Solver(point, rule, Stopping(max(max_iters, 1), rtol=0.0, patience=None))
    solver.start(method.problem(codec, image))
    return solver


def advance(solver: Solver, mark: int) -> None:
    """Step until ``mark`` iterations are done, or every sample is."""
    while solver.iteration < mark and not solver.done:
        solver.step()


def reported(solver: Solver) -> Tensor:
    """Give the raw latents ``(B, C, h, w)`` that the solver reports now: the best so far, or the start before any step."""
    return solver.problem.latent(solver.point.detach()) if solver.iteration == 0 else solver.result().latent


def true_latent(batch: Batch) -> Tensor:
    """Give the true raw latents of a chunk.

    Raises:
        ValueError: If they are not known.
    """
    if batch.latent is None:
        raise ValueError("Expected images with known latents, but got some without; generate them.")
    return batch.latent


class Report(NamedTuple):
    """What a method reports after a number of iterations, and the images that were worked on until then.

    Attributes:
        mark: The number of iterations.
        latent: Raw latents ``(B, C, h, w)``.
        decodes: Images decoded since the run began.
        encodes: Images encoded since then.
        backwards: Images whose decoding was differentiated since then.
    """

    mark: int
    latent: Tensor
    decodes: int
    encodes: int
    backwards: int


def reports(method: Method, codec: Codec, image: Tensor, marks: Sequence[int]) -> Iterator[Report]:
    """Run a method on images, and stop after each number of iterations.

    Args:
        method: The method.
        codec: The codec whose decoder is inverted.
        image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
        marks: Increasing numbers of iterations; each is a run of its own where a schedule spans the run.
    """
    for run in method.runs(marks):
        counting = CountingCodec(codec)
        solver = begin(method, counting, image, run[-1])
        for mark in run:
            advance(solver, mark)
            yield Report(mark, reported(solver), counting.decodes, counting.encodes, counting.backwards)


@torch.no_grad()
def measure_quality(method: Method, codec: Codec, batch: Batch, marks: Sequence[int]) -> dict[int, Quality]:
    """Run a method on one chunk and look at its latents after each number of iterations.

    Args:
        method: The method.
        codec: The codec whose decoder is inverted.
        batch: Images with their true latents, on the codec's device.
        marks: Increasing numbers of iterations.

    Returns:
        The quality by number of iterations.
    """
    target = codec.encode(batch.image)
    truth = codec.scaling.apply(true_latent(batch))
    found: dict[int, Quality] = {}
    for mark, latent, *work in reports(method, codec, batch.image, marks):
        decoded = codec.decode(latent)
        found[mark] = Quality(
            nmse_db(codec.scaling.apply(latent), truth).cpu(),
            psnr_db(decoded.clamp(-1, 1), batch.image).cpu(),
            (norms(codec.encode(decoded) - target) / norms(target)).cpu(),
            *(torch.full((len(latent),), images / len(latent)) for images in work),
        )
    return found


def measure_seconds(
    methods: Sequence[Method], codec: Codec, image: Tensor, marks: Sequence[int]
) -> dict[str, dict[int, float]]:
    """Time methods on one chunk, from the images to each number of iterations, with nothing else on the clock.

    The methods take turns, one iteration each, so that a machine that slows down for a while slows them alike.

    Args:
        methods: The methods.
        codec: The codec whose decoder is inverted.
        image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
        marks: Increasing numbers of iterations.

    Returns:
        Seconds by name of the method and number of iterations; the update after the last evaluation counts, but for a run's
        last.
    """
    found: dict[str, dict[int, float]] = {method.name: {} for method in methods}
    running = [_timed(method, codec, image, run, found[method.name]) for method in methods for run in method.runs(marks)]
    while running:
        running = [timed for timed in running if next(timed, False) is None]
    return found


def _timed(method: Method, codec: Codec, image: Tensor, run: Sequence[int], found: dict[int, float]) -> Iterator[None]:
    """Go one iteration further whenever resumed, and book the seconds spent in here at the run's marks."""
    began = now(image.device)
    solver = begin(method, codec, image, run[-1])
    spent = now(image.device) - began
    for mark in run:
        while solver.iteration < mark and not solver.done:
            yield
            began = now(image.device)
            solver.step()
            spent += now(image.device) - began
        found[mark] = spent


def measure_memory(method: Method, codec: Codec, image: Tensor, marks: Sequence[int]) -> dict[int, float]:
    """Meter a method on one chunk.

    Args:
        method: The method.
        codec: The codec whose decoder is inverted.
        image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
        marks: Increasing numbers of iterations.

    Returns:
        Peak memory in MiB, from the start of the run that reports there, by number of iterations.
    """
    found: dict[int, float] = {}
    for run in method.runs(marks):
        found |= _meter(method, codec, image, run)
    return found


def _meter(method: Method, codec: Codec, image: Tensor, run: Sequence[int]) -> dict[int, float]:
    """Meter one run, which is freed before the next one begins."""
    found: dict[int, float] = {}
    with PeakMemory(image.device) as peak:
        solver = begin(method, codec, image, run[-1])
        for mark in run:
            advance(solver, mark)
            found[mark] = peak.mib
    return found


def now(device: torch.device) -> float:
    """Read the clock once the device has done its work, seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
