"""Rows of the tables of a run's clips and of their frames."""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from decinv.rows import Row


class FrameRow(NamedTuple):
    """The outcome of one frame; ``None`` is what is not known, such as residuals of frames that are solved together.

    Attributes:
        clip: Name of its clip.
        place: Its place in the clip, from 0.
        frame: Its number in the video, from 0.
        seconds: When it is shown, from the video's first frame on.
        status: How its inversion ended.
        iterations: Iterations that it took.
        residual: Relative residual of its latent.
        psnr_db: PSNR of D(z), clamped, against the frame in dB.
        nmse_db: NMSE of its latent against the true one in dB, in scaled latents.
        reason: What went wrong.
    """

    clip: str
    place: int
    frame: int
    seconds: float
    status: str
    iterations: int | None = None
    residual: float | None = None
    psnr_db: float | None = None
    nmse_db: float | None = None
    reason: str = ""


class ClipRow(NamedTuple):
    """The outcome of one clip: medians and worst values over its frames.

    Attributes:
        name: The clip's name.
        frames: Number of its frames.
        usable: Number of those with a latent.
        statuses: Number of frames of each status.
        iterations: Mean number of iterations of a frame.
        residual_median: Median relative residual.
        residual_worst: Largest one.
        psnr_db_median: Median PSNR in dB.
        psnr_db_worst: Lowest one.
        nmse_db_median: Median NMSE in dB, where the truth is known.
        nmse_db_worst: Largest one.
        seconds: Seconds of computing, of all frames.
        latents: The file of its latents, relative to the run directory; empty if there is none.
        reason: What went wrong with the first frame that has no latent.
    """

    name: str
    frames: int
    usable: int
    statuses: str
    iterations: float | None
    residual_median: float | None
    residual_worst: float | None
    psnr_db_median: float | None
    psnr_db_worst: float | None
    nmse_db_median: float | None
    nmse_db_worst: float | None
    seconds: float
    latents: str
    reason: str


def summarise(name: str, frames: Sequence[FrameRow], rows: Sequence[Row], latents: str) -> ClipRow:
    """Make a clip's row.

    Args:
        name: The clip's name.
        frames: The rows of its frames; none of what could not be read as a clip.
        rows: The rows of its samples: of its frames, or of the clip alone.
        latents: The file of its latents.
    """
    residuals = [row.residual for row in rows if row.residual is not None]
    psnr = [frame.psnr_db for frame in frames if frame.psnr_db is not None]
    nmse = [row.nmse_db for row in rows if row.nmse_db is not None]
    iterations = [row.iterations for row in rows if row.iterations is not None]
    counts = Counter([frame.status for frame in frames] or [row.status.name for row in rows])
    failed = [row for row in rows if not row.latents]
    return ClipRow(
        name,
        len(frames),
        len(frames) * (len(rows) - len(failed)) // len(rows),
        ", ".join(f"{status} {count}" for status, count in sorted(counts.items())),
        sum(iterations) / len(iterations) if iterations else None,
        median(residuals) if residuals else None,
        max(residuals, default=None),
        median(psnr) if psnr else None,
        min(psnr, default=None),
        median(nmse) if nmse else None,
        max(nmse, default=None),
        sum(row.seconds or 0.0 for row in rows),
        latents,
        failed[0].reason if failed else "",
    )
