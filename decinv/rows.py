"""One row a sample: what the table of results says."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from decinv.batch import Batch
from decinv.codecs.scaling import Scaling
from decinv.metrics.background import image_nmse_db
from decinv.metrics.latent import nmse_db
from decinv.metrics.pixel import psnr_db
from decinv.result import Result
from decinv.status import Status

NEVER_FINITE = (
    "The codec's E(x) or E(D(E(x))) is not finite, as happens when float16 overflows; there is no latent. Set the codec's "
    "`dtype` to bfloat16 or float32."
)


class Row(NamedTuple):
    """The outcome of one sample; ``None`` is what is not known.

    Attributes:
        name: The sample's name.
        status: How its inversion ended.
        iterations: Iterations that it took.
        evaluations: Evaluations of the problem's map that it took.
        residual: Relative residual of the reported latent.
        psnr_db: PSNR of D(z), or of the image sampled from the noise, clamped, against x in dB, over the image without its
            padding; ``inf`` if identical.
        encoder_psnr_db: The same for D(E(x)).
        nmse_db: NMSE of the latent against the true one in dB, in scaled latents; ``-inf`` if identical.
        seconds: Seconds of computing that the sample took.
        peak_mib: Peak memory in MiB of the chunk that the sample was part of.
        number: Its number in the list of the run's inputs.
        latents: The file of its latent, relative to the run directory; empty if there is none.
        reason: What went wrong, and what to do about it; empty if nothing did.
        noise_nmse_db: NMSE of the noise against the true one in dB, where samplers are inverted: T0T.
        round_trip_nmse_db: NMSE of the image sampled from the noise, clamped, against x in dB, padding included, where white is
            1 and black is 0: 0T0 of arXiv 2311.18387.
    """

    name: str
    status: Status
    iterations: int | None = None
    evaluations: int | None = None
    residual: float | None = None
    psnr_db: float | None = None
    encoder_psnr_db: float | None = None
    nmse_db: float | None = None
    seconds: float | None = None
    peak_mib: float | None = None
    number: int | None = None
    latents: str = ""
    reason: str = ""
    noise_nmse_db: float | None = None
    round_trip_nmse_db: float | None = None


def make_rows(
    batch: Batch,
    result: Result,
    reconstruction: Tensor,
    scaling: Scaling,
    peak_mib: float | None = None,
    remarks: Sequence[str] = (),
) -> tuple[Row, ...]:
    """Make the rows of a finished chunk: of its ``B`` samples in order, then of its failures.

    Args:
        batch: The chunk.
        result: Its outcome.
        reconstruction: The images ``(B, 3, H, W)`` of the reported latents, or sampled from the reported noise, clamped to
            [-1, 1].
        scaling: The codec's map to the diffusion model's space, in which the NMSE is taken.
        peak_mib: Peak memory of the chunk in MiB, if it was measured.
        remarks: What else is to be said of each of the ``B`` samples, as reasons of those whose status needs none; or none.

    Returns:
        The rows. ``encoder_psnr_db`` is left out, since it takes a decode of its own. Values that are nan become ``None``.
    """
    psnr = image_psnr_db(batch, reconstruction)
    nmse: list[float | None] = [None] * len(batch.names)
    if batch.latent is not None:
        nmse = known(nmse_db(scaling.apply(result.latent), scaling.apply(batch.latent)))
    noise_nmse: list[float | None] = [None] * len(batch.names)
    round_trip = list(noise_nmse)
    if result.noise is not None:
        round_trip = known(image_nmse_db(reconstruction, batch.image))
        if batch.noise is not None:
            noise_nmse = known(nmse_db(result.noise, batch.noise))
    rows = [
        Row(
            name=batch.names[index],
            status=status,
            iterations=int(result.iterations[index]),
            evaluations=int(result.evaluations[index]),
            residual=residual,
            psnr_db=psnr[index],
            nmse_db=nmse[index],
            noise_nmse_db=noise_nmse[index],
            round_trip_nmse_db=round_trip[index],
            seconds=float(result.seconds[index]),
            peak_mib=peak_mib,
            number=batch.numbers[index] if batch.numbers else None,
            reason=_reason(status, residual) or (remarks[index] if remarks else ""),
        )
        for index, (status, residual) in enumerate(zip(result.status, known(result.residual), strict=True))
    ]
    failures = [Row(name, status, number=number, reason=reason) for name, reason, number, status in batch.failures]
    return (*rows, *failures)


def image_psnr_db(batch: Batch, images: Tensor) -> list[float | None]:
    """Give the PSNR in dB of each of ``images`` ``(B, 3, H, W)`` or clips in [-1, 1] against the batch's, without padding.

    Values that are nan become ``None``.
    """
    values: list[float | None] = []
    for index in range(len(batch.names)):
        height, width = batch.size(index)
        crop = (slice(index, index + 1), ..., slice(height), slice(width))
        values += known(psnr_db(images[crop], batch.image[crop]))
    return values


def known(values: Tensor) -> list[float | None]:
    """Give values as numbers, and ``None`` for those that are nan."""
    return [None if value != value else value for value in values.flatten().tolist()]


def _reason(status: Status, residual: float | None) -> str:
    if status is Status.DIVERGED and residual is None:
        return NEVER_FINITE
    return "" if status.ok else status.sentence
