"""What comes out of an inversion."""

from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn

from decinv.codecs.frames import as_clips
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
        history: Relative residual ``(K, B)`` at each iteration; nan after a sample ended. Of one that is answered near another
            image (``decinv.problems.DecoderProblem``) it is the residual there from then on, and ``residual`` is not.
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


def join(parts: list[Result], readable: list[bool]) -> Result:
    """Put the outcomes of chunks together, with the status UNREADABLE and nan for what could not be read.

    Args:
        parts: The outcomes, at least one, whose samples are those that were read, in order.
        readable: Whether each sample was read.
    """
    histories, problems = _aligned(parts)
    rows = torch.tensor(readable, device="cpu").nonzero()[:, 0]
    count = len(readable)

    def spread(values: list[Tensor], fill: float) -> Tensor:
        joined = torch.cat(values)
        if len(rows) == count:
            return joined
        full = joined.new_full((count, *joined.shape[1:]), fill)
        full[rows.to(full.device)] = joined
        return full

    outcomes = iter([status for part in parts for status in part.status])
    return Result(
        latent=spread([part.latent for part in parts], torch.nan),
        residual=spread([part.residual for part in parts], torch.nan),
        history=spread([history.T for history in histories], torch.nan).T,
        iterations=spread([part.iterations for part in parts], 0),
        evaluations=spread([part.evaluations for part in parts], 0),
        seconds=spread([part.seconds for part in parts], 0.0),
        status=tuple(next(outcomes) if ok else Status.UNREADABLE for ok in readable),
        noise=None if parts[0].noise is None else spread([part.noise for part in parts if part.noise is not None], torch.nan),
        problems=problems,
    )


def _aligned(parts: list[Result]) -> tuple[list[Tensor], tuple[int, ...]]:
    """Give the chunks' histories with each problem as long as that of the longest chunk, and how long these are."""
    lengths = [part.problems or (len(part.history),) for part in parts]
    most = [max(one) for one in zip_longest(*lengths, fillvalue=0)]
    histories = []
    for part, own in zip(parts, lengths, strict=True):
        pieces = torch.split(part.history, [*own, *[0] * (len(most) - len(own))])
        padded = (
            nn.functional.pad(piece, (0, 0, 0, wanted - len(piece)), value=torch.nan)
            for piece, wanted in zip(pieces, most, strict=True)
        )
        histories.append(torch.cat(list(padded)))
    return histories, tuple(most) if any(part.problems for part in parts) else ()


def join_frames(result: Result, times: int) -> Result:
    """Join the outcomes of frames to those of clips, as ``Result`` tells.

    Args:
        result: The outcomes of frames, clip after clip.
        times: Frames of a clip, at least 1.
    """
    clips = len(result.status) // times
    return Result(
        latent=as_clips(result.latent, times),
        residual=result.residual.view(clips, times),
        history=result.history.reshape(len(result.history), clips, times),
        iterations=result.iterations.view(clips, times),
        evaluations=result.evaluations.view(clips, times),
        seconds=result.seconds.view(clips, times),
        status=result.status,
    )
