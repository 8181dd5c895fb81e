"""What comes out of an inversion."""

from dataclasses import dataclass

import torch
from torch import Tensor

from decinv.status import Status


@dataclass(frozen=True)
class Result:
    """The outcome of one chunk of ``B`` samples.

    Of clips that a codec of images codes frame by frame, every frame is a sample: ``decinv.invert`` gives the latents of ``B``
    clips of T frames as ``(B, C, T, h, w)``, ``(B, T)`` in place of ``(B,)``, and ``B T`` outcomes, clip after clip.

    Attributes:
        latent: Raw latents ``(B, C, h, w)``, or ``(B, C, t, h, w)`` of clips, float32: for each sample the best iterate that
            was evaluated, see ``decinv.solver.Solver``. Rows of samples that never had a finite iterate are nan.
        residual: Relative residual ``(B,)`` of those latents.
        history: Relative residual ``(K, B)`` at each iteration; nan after a sample ended.
        iterations: Iterations ``(B,)`` that each sample took.
        evaluations: Evaluations ``(B,)`` of the problem's map that each sample took.
        seconds: Seconds ``(B,)`` of computing that each sample took, its share of every step that it was part of.
        status: ``B`` outcomes.
        noise: Standard normal noise ``(B, C, h, w)`` that a sampler makes the latents from, where samplers are inverted.
        problems: Iterations of each problem, where several were solved one after another; their sum is K. Else empty.
    """

    latent: Tensor
    residual: Tensor
    history: Tensor
    iterations: Tensor
    evaluations: Tensor
    seconds: Tensor
    status: tuple[Status, ...]
    noise: Tensor | None = None
    problems: tuple[int, ...] = ()


def followed(decoder: Result, sampler: Result) -> Result:
    """Put the outcomes of a decoder's inversion and of the sampler's that followed it together.

    Args:
        decoder: That of the decoder, or of nothing but the encoder.
        sampler: That of the sampler, with the noise in ``latent``.

    Returns:
        The decoder's latents and the noise; the sampler's residuals, the worse statuses, and the sums and sequences of all
        else.
    """
    return Result(
        latent=decoder.latent,
        residual=sampler.residual,
        history=torch.cat([decoder.history, sampler.history]),
        iterations=decoder.iterations + sampler.iterations,
        evaluations=decoder.evaluations + sampler.evaluations,
        seconds=decoder.seconds + sampler.seconds,
        status=tuple(Status(max(pair)) for pair in zip(decoder.status, sampler.status, strict=True)),
        noise=sampler.latent,
        problems=(len(decoder.history), *sampler.problems),
    )
