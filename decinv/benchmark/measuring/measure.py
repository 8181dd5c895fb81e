"""Run methods of decoder inversion, and measure how good the latents are that they report."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from decinv.batch import Batch
from decinv.benchmark.measuring.counting import CountingCodec
from decinv.benchmark.measuring.methods import DecoderMethod
from decinv.codecs.base import Codec
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
        residual: ``||E(D(z)) - E(x)|| / ||E(x)||`` in raw latents, ``(B,)``, D(z) clamped where the codec ``clamps``.
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


def begin(method: DecoderMethod, codec: Codec, image: Tensor, max_iters: int, rtol: float = 0.0) -> Solver:
    """Start a method on images as the product does, with a stopping rule that by default lets it run to the end.

    Args:
        method: The method.
        codec: The codec whose decoder is inverted.
        image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
        max_iters: Iterations of the run; 0 for the start alone.
        rtol: Relative residual at which an image is done, at least 0.

    Returns:
        The solver before its first step.
    """
    point = nn.Parameter(torch.empty(0, device=image.device))
    rule = as_rule((method.rule or ForwardStep)([point]))
    stopping = Stopping(max(max_iters, 1), rtol=rtol, patience=None, gradient_steps=method.gradient_steps)
    solver = Solver(point, rule, stopping)
    solver.start(method.problem(codec, image))
    return solver


def advance(solver: Solver, mark: int) -> None:
    """Step until ``mark`` iterations are done, with the gradient steps where that is the whole run, or every sample is."""
    last = mark if mark < solver.stopping.max_iters else solver.stopping.longest
    while solver.iteration < last and not solver.done:
        solver.step()


def reported(solver: Solver) -> Tensor:
    """Give the raw latents ``(B, C, h, w)`` that the solver reports now: the best so far, or the start before any step."""
    return solver.problem.latent(solver.point.detach()) if solver.iteration == 0 else solver.result().latent


@torch.no_grad()
def invert_decoder(
    method: DecoderMethod, iterations: int, codec: Codec, image: Tensor, rtol: float = 0.0
) -> tuple[Tensor, float]:
    """Give the scaled latents of images, and the seconds that all of them took.

    Args:
        method: The method.
        iterations: Largest number of iterations of an image; 0 for the start alone.
        codec: The codec whose decoder is inverted.
        image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
        rtol: Relative residual at which an image is done, at least 0.
    """
    began = now(codec.device)
    solver = begin(method, codec, image, iterations, rtol)
    advance(solver, iterations)
    latent = codec.scaling.apply(reported(solver))
    return latent, now(codec.device) - began


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


def reports(method: DecoderMethod, codec: Codec, image: Tensor, marks: Sequence[int]) -> Iterator[Report]:
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
def measure_quality(method: DecoderMethod, codec: Codec, batch: Batch, marks: Sequence[int]) -> dict[int, Quality]:
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
    found: dict[int, Quality] = {}
    for mark, latent, *work in reports(method, codec, batch.image, marks):
        found[mark] = judge(codec, batch, target, latent, work)
    return found


@torch.no_grad()
def judge(codec: Codec, batch: Batch, target: Tensor, latent: Tensor, work: Sequence[int]) -> Quality:
    """Compare latents with the true ones, and their images with the chunk's.

    Args:
        codec: The codec whose decoder is inverted.
        batch: Images with their true latents, on the codec's device.
        target: E(x), raw, ``(B, C, h, w)``.
        latent: The raw latents to judge, ``(B, C, h, w)``.
        work: How many images were decoded, encoded and differentiated to find them.
    """
    scaled = codec.scaling.apply
    decoded = codec.picture(latent)
    return Quality(
        nmse_db(scaled(latent), scaled(true_latent(batch))).cpu(),
        psnr_db(decoded.clamp(-1, 1), batch.image).cpu(),
        (norms(codec.encode(decoded) - target) / norms(target)).cpu(),
        *(torch.full((len(latent),), images / len(latent)) for images in work),
    )


def now(device: torch.device) -> float:
    """Read the clock once the device has done its work, seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
