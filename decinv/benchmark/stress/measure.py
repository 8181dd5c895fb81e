"""Measure one method on one hard codec: at fixed numbers of iterations, and as it stops by itself."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decinv.api import invert
from decinv.batch import Batch
from decinv.benchmark.measuring.measure import Quality, judge, measure_quality, true_latent
from decinv.benchmark.measuring.methods import DecoderMethod
from decinv.codecs.base import Codec
from decinv.metrics.cocoercivity import cocoercivity
from decinv.problems.base import Evaluation
from decinv.problems.decoder import DecoderProblem
from decinv.updates.forward import ForwardStep


@dataclass(frozen=True)
class StressRow:
    """One method on one codec, over all images.

    Attributes:
        codec: The codec's name.
        method: The method's name.
        start_db: Mean NMSE of the codec's own encoder latents, dB.
        nmse_db: Mean NMSE by number of iterations, dB.
        worst_db: Largest NMSE of an image by number of iterations, dB.
        worst_change: Largest change of an image's NMSE from the encoder's, at any of these numbers, dB.
        drift: Largest rise of the mean or the largest NMSE from one of these numbers to a later one, dB; 0 where monotone.
        outcomes: How many images ended with which status, under the default stopping rule; so are all that follow.
        iterations: Mean number of iterations.
        stopped_db: Mean NMSE, dB.
        stopped_change: Largest change of an image's NMSE from the encoder's, dB.
        residual_start: Mean relative residual at the start.
        residual_end: That of the latents that are reported.
        cocoercivity: Smallest cocoercivity of T at an iterate with a residual of at least a tenth of the first.
        psnr_start: Mean PSNR of D(z) at the start, clamped, against the 8-bit image, dB.
        psnr_end: That of the latents that are reported.
    """

    codec: str
    method: str
    start_db: float
    nmse_db: dict[int, float]
    worst_db: dict[int, float]
    worst_change: float
    drift: float
    outcomes: str
    iterations: float
    stopped_db: float
    stopped_change: float
    residual_start: float
    residual_end: float
    cocoercivity: float
    psnr_start: float
    psnr_end: float


class WatchedProblem(DecoderProblem):
    """Decoder inversion that notes the smallest cocoercivity of T towards the true latent.

    Points with a residual below a tenth of the first are left out: there the rounding of the image to 8 bits decides, which
    moves the solution away from the true latent.

    Attributes:
        smallest: The smallest value so far; ``inf`` if T was 0 at every point.
    """

    def __init__(self, codec: Codec, batch: Batch) -> None:
        """Encode the images, whose true latents are known."""
        super().__init__(codec, batch.image)
        self.truth = codec.scaling.apply(true_latent(batch))
        self.smallest = torch.inf
        self.first: Tensor | None = None

    def evaluate(self, point: Tensor) -> Evaluation:
        """Run one decode and one encode."""
        evaluation = super().evaluate(point)
        self.first = evaluation.merit if self.first is None else self.first
        values = cocoercivity(evaluation.residual, point - self.truth)
        telling = values.isfinite() & (evaluation.merit >= 0.1 * self.first)
        self.smallest = min([self.smallest, *values[telling].tolist()])
        return evaluation

    def select(self, keep: Tensor) -> None:
        """Drop the samples that are not in ``keep``."""
        super().select(keep)
        self.truth = self.truth[keep]
        self.first = None if self.first is None else self.first[keep]


def measure_start(codec: Codec, batch: Batch) -> Quality:
    """Measure the codec's own encoder latents z = E(x) of images with true latents."""
    return measure_quality(DecoderMethod("encoder", DecoderProblem, None), codec, batch, ())[0]


@torch.no_grad()
def measure_stress(
    name: str, codec: Codec, batch: Batch, method: DecoderMethod, start: Quality, marks: Sequence[int]
) -> StressRow:
    """Run a method on a codec, to each number of iterations and until it stops by itself.

    Args:
        name: The codec's name.
        codec: The codec whose decoder is inverted.
        batch: Images with their true latents, on the codec's device.
        method: The method.
        start: What ``measure_start`` gives for codec and images.
        marks: Increasing numbers of iterations.
    """
    found = measure_quality(method, codec, batch, marks)
    problem = WatchedProblem(codec, batch)
    stopped = invert(batch.image, codec, method.rule or ForwardStep, batch_size=len(batch.image), problem=lambda *_: problem)
    end = judge(codec, batch, codec.encode(batch.image), stopped.latent, work=(0, 0, 0))
    mean = {mark: float(quality.nmse_db.mean()) for mark, quality in found.items()}
    worst = {mark: float(quality.nmse_db.max()) for mark, quality in found.items()}
    return StressRow(
        codec=name,
        method=method.name,
        start_db=float(start.nmse_db.mean()),
        nmse_db=mean,
        worst_db=worst,
        worst_change=max(float((quality.nmse_db - start.nmse_db).max()) for quality in found.values()),
        drift=max(largest_rise(list(mean.values())), largest_rise(list(worst.values()))),
        outcomes=", ".join(f"{count} {status}" for status, count in sorted(Counter(s.name for s in stopped.status).items())),
        iterations=float(stopped.iterations.float().mean()),
        stopped_db=float(end.nmse_db.mean()),
        stopped_change=float((end.nmse_db - start.nmse_db).max()),
        residual_start=float(start.residual.mean()),
        residual_end=float(end.residual.mean()),
        cocoercivity=problem.smallest,
        psnr_start=float(start.psnr_db.mean()),
        psnr_end=float(end.psnr_db.mean()),
    )


def largest_rise(values: Sequence[float]) -> float:
    """Give the largest difference of a value to an earlier one, at least 0."""
    return max([0.0, *(late - early for i, early in enumerate(values) for late in values[i + 1 :])])
