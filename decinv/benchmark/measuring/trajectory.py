"""What a method reports after every evaluation of a run: the error of its latent, and the time until then."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.batch import Batch
from decinv.benchmark.measuring.measure import begin, now, reported, true_latent
from decinv.benchmark.measuring.methods import DecoderMethod
from decinv.codecs.base import Codec
from decinv.metrics.latent import nmse_db
from decinv.metrics.pixel import psnr_db


class Trajectory(NamedTuple):
    """One run of K evaluations of a method on ``B`` images; after none or one evaluation the start is reported.

    Attributes:
        nmse_db: NMSE ``(K + 1, B)`` of the scaled latents that are reported after 0, 1, ..., K evaluations, dB.
        seconds: Seconds ``(K + 1,)`` for all images together until then, float64; measuring is not on the clock.
        psnr_db: PSNR ``(B,)`` of D(z), clamped, against the image, dB, by number of evaluations, for the run's marks.
    """

    nmse_db: Tensor
    seconds: Tensor
    psnr_db: dict[int, Tensor]

    @property
    def means_db(self) -> list[float]:
        """Mean NMSE over the images after 0, 1, ..., K evaluations, dB."""
        means: list[float] = self.nmse_db.double().mean(1).tolist()
        return means


@torch.no_grad()
def follow(method: DecoderMethod, codec: Codec, batch: Batch, run: Sequence[int]) -> Trajectory:
    """Run a method once on one chunk and look at what it reports after every evaluation.

    Args:
        method: The method.
        codec: The codec whose decoder is inverted.
        batch: Images with their true latents, on the codec's device.
        run: Increasing numbers of evaluations at which to take the PSNR; the last one is the length of the run.

    Returns:
        The trajectory.
    """
    truth = codec.scaling.apply(true_latent(batch))
    errors, seconds, psnr = [], [], {}
    began = now(batch.image.device)
    solver = begin(method, codec, batch.image, run[-1])
    spent = now(batch.image.device) - began
    for iteration in range(run[-1] + 1):
        if iteration and not solver.done:
            began = now(batch.image.device)
            solver.step()
            spent += now(batch.image.device) - began
        latent = reported(solver)
        errors.append(nmse_db(codec.scaling.apply(latent), truth).cpu())
        seconds.append(spent)
        if iteration in run:
            psnr[iteration] = psnr_db(codec.decode(latent).clamp(-1, 1), batch.image).cpu()
    return Trajectory(torch.stack(errors), torch.tensor(seconds, dtype=torch.float64), psnr)


def follow_all(
    method: DecoderMethod, codec: Codec, chunks: Sequence[Batch], marks: Sequence[int], tick: Callable[[str], None]
) -> list[Trajectory]:
    """Follow a method on all chunks, in all the runs that it takes to report at the marks.

    Args:
        method: The method.
        codec: The codec whose decoder is inverted.
        chunks: Images with their true latents, on the codec's device, inverted one chunk at a time.
        marks: Increasing numbers of evaluations.
        tick: Called with a word on what comes next, once a run and chunk.

    Returns:
        One trajectory a run, over the images of all chunks; the runs' PSNR together has all marks.
    """
    found = []
    for run in method.runs(marks):
        parts = []
        for chunk in chunks:
            tick(f"{method.name}, {run[-1]} evaluations")
            parts.append(follow(method, codec, chunk, run))
        errors, seconds = torch.cat([part.nmse_db for part in parts], 1), torch.stack([part.seconds for part in parts])
        psnr = {mark: torch.cat([part.psnr_db[mark] for part in parts]) for mark in run}
        found.append(Trajectory(errors, seconds.sum(0), psnr))
    return found


def follow_ticks(methods: Sequence[DecoderMethod], chunks: Sequence[Batch], marks: Sequence[int]) -> int:
    """Give how often ``follow_all`` calls ``tick`` for all methods."""
    return sum(len(method.runs(marks)) for method in methods) * len(chunks)
