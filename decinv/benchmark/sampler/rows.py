"""The rows of the sampler benchmark, and which of ours is as accurate as another method."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.benchmark.sampler.methods import is_ours
from decinv.status import Status

TRUE_LATENT = "true latent"
"""What tables call the decoder's inversion where there is none."""


class Found(NamedTuple):
    """What a method found in a chunk of ``B`` images.

    Attributes:
        sampler: Name of the sampler.
        guidance: The guidance scale.
        decoder: Where the latents came from.
        method: Name of the method.
        noise_nmse_db: NMSE of the noise, ``(B,)``, dB.
        round_trip_nmse_db: NMSE of the image that is sampled from it, ``(B,)``, dB.
        psnr_db: PSNR of that image, ``(B,)``, dB.
        evaluations: Guided predictions, ``(B,)``.
        seconds: Seconds of sampler inversion for all.
        decoder_seconds: Seconds of decoder inversion for all.
        status: How it ended for each.
        residuals: Residual of each step, ``(B, N)``, the noisiest first; ``(B, 0)`` where they were not measured.
    """

    sampler: str
    guidance: float
    decoder: str
    method: str
    noise_nmse_db: Tensor
    round_trip_nmse_db: Tensor
    psnr_db: Tensor
    evaluations: Tensor
    seconds: float
    decoder_seconds: float
    status: tuple[Status, ...]
    residuals: Tensor


@dataclass(frozen=True)
class Row:
    """One method with one sampler, guidance and decoder inversion, over all images; the report explains the columns."""

    sampler: str
    guidance: float
    decoder: str
    method: str
    t0t: float
    t0t_worst: float
    t0t_db: float
    t0t_db_worst: float
    round_trip: float
    psnr_db: float
    evaluations: float
    seconds: float
    decoder_seconds: float
    status: str
    residuals: tuple[float, ...] = ()


@dataclass(frozen=True)
class Match:
    """A method, and the cheapest of ours that is as accurate; the report says what its columns are."""

    sampler: str
    guidance: float
    method: str
    t0t: float
    evaluations: float
    ours: str
    ours_t0t: float | None
    ours_evaluations: float | None
    ratio: float | None
    seconds_ratio: float | None


def summarise(parts: Sequence[Found]) -> Row:
    """Reduce what a method found in all chunks to one row."""
    first, images = parts[0], sum(len(part.status) for part in parts)
    t0t, round_trip = (torch.cat([getattr(p, key) for p in parts]) for key in ("noise_nmse_db", "round_trip_nmse_db"))
    statuses = Counter(status for part in parts for status in part.status)
    named = (f"{count} {status.name.lower().replace('_', ' ')}" for status, count in sorted(statuses.items()))
    return Row(
        *first[:4],
        t0t=float((10 ** (t0t / 10)).mean()),
        t0t_worst=float((10 ** (t0t / 10)).max()),
        t0t_db=float(t0t.mean()),
        t0t_db_worst=float(t0t.max()),
        round_trip=float((10 ** (round_trip / 10)).mean()),
        psnr_db=float(torch.cat([part.psnr_db for part in parts]).mean()),
        evaluations=float(torch.cat([part.evaluations for part in parts]).double().mean()),
        seconds=sum(part.seconds for part in parts) / images,
        decoder_seconds=sum(part.decoder_seconds for part in parts) / images,
        status=", ".join(named),
        residuals=tuple(torch.cat([part.residuals for part in parts]).mean(0).tolist()),
    )


def match(rows: Sequence[Row]) -> list[Match]:
    """Match every other method, from the true latent, with the cheapest of ours that is as accurate."""
    found = []
    given = [row for row in rows if row.decoder == TRUE_LATENT]
    own = [row for row in given if is_ours(row.method)]
    for row in given:
        if row in own or not row.evaluations:
            continue
        equal = [o for o in own if (o.sampler, o.guidance) == (row.sampler, row.guidance) and o.t0t <= row.t0t]
        best = min(equal, key=lambda one: one.evaluations, default=None)
        found.append(
            Match(
                *(row.sampler, row.guidance, row.method, row.t0t, row.evaluations),
                ours=best.method if best else "",
                ours_t0t=best.t0t if best else None,
                ours_evaluations=best.evaluations if best else None,
                ratio=row.evaluations / best.evaluations if best else None,
                seconds_ratio=row.seconds / best.seconds if best and best.seconds else None,
            )
        )
    return found
