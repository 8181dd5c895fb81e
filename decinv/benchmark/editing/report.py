"""The report of the benchmark of edits: its rows, its columns and its figure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from decinv.benchmark.editing.images import Edited
from decinv.benchmark.figures.dots import Series, draw_dots
from decinv.benchmark.summary import summarise as interval
from decinv.benchmark.table import Column, Table


@dataclass(frozen=True)
class Row:
    """Edits by one inversion at one guidance scale, over all images; see ``COLUMNS``."""

    guidance: str
    inversion: str
    background_nmse: float
    background_half_width: float
    background_median: float
    background_db: float
    background_db_half_width: float
    background_psnr_db: float
    background_ssim: float
    latent_nmse_db: float | None
    oracle_psnr_db: float | None
    noise_nmse_db: float | None
    seconds: float | None


COLUMNS = (
    Column("guidance", "guidance", "guidance scale of generation, inversion and edit"),
    Column("inversion", "inversion", "how the noise is recovered; the oracle has the true one"),
    Column("background_nmse", "background NMSE", "mean NMSE of the edits' backgrounds against the originals'", ".5f", "lowest"),
    Column("background_half_width", "±", "half-width of the 95 % interval of that mean", ".5f", detail=True),
    Column("background_median", "median", "median of the background NMSE", ".5f", "lowest"),
    Column("background_db", "in dB", "mean of the background NMSE in dB", ".2f", "lowest"),
    Column("background_db_half_width", "± dB", "half-width of the 95 % interval of that mean", ".2f", detail=True),
    Column("background_psnr_db", "PSNR dB", "mean PSNR of the backgrounds", ".2f", "highest"),
    Column("background_ssim", "SSIM", "mean structural similarity of the backgrounds", ".4f", "highest"),
    Column(
        "latent_nmse_db",
        "latents dB",
        "mean NMSE of the backgrounds' latents, which the edit itself does not touch",
        ".2f",
        "lowest",
    ),
    Column("oracle_psnr_db", "to oracle dB", "mean PSNR of the whole edits against the oracle's", ".2f", "highest"),
    Column("noise_nmse_db", "noise NMSE dB", "mean NMSE of the recovered noise", ".2f", "lowest"),
    Column("seconds", "s/image", "seconds of the inversion for each image", ".3g"),
)
"""How the rows are shown."""


def summarise(guidance: float, inversion: str, found: Edited) -> Row:
    """Reduce edits of ``N`` images to one row; images whose mask leaves no background are left out.

    Args:
        guidance: The guidance scale.
        inversion: How the noise was recovered; what is trivial where it is the true one is left out.
        found: The edits.
    """
    kept = ~found.background_nmse.isnan()
    kept |= ~kept.any()
    nmse, decibels = interval(found.background_nmse[kept]), interval(10 * torch.log10(found.background_nmse[kept]))
    true = bool(found.noise_nmse_db.isneginf().all())
    return Row(
        f"{guidance:g}",
        inversion,
        nmse.mean,
        nmse.half_width,
        float(found.background_nmse[kept].quantile(0.5)),
        decibels.mean,
        decibels.half_width,
        float(found.background_psnr_db[kept].mean()),
        float(found.background_ssim[kept].mean()),
        None if true else float(found.latent_nmse_db[kept].mean()),
        None if true else float(found.oracle_psnr_db.mean()),
        None if true else float(found.noise_nmse_db.mean()),
        None if true else float(found.seconds.mean()),
    )


def write_report(rows: Sequence[Row], out: Path, conditions: str) -> None:
    """Write table.csv, table.md and editing.png, and print the table.

    Args:
        rows: What was measured, by guidance, then inversion.
        out: The directory to write into.
        conditions: A phrase on what was measured and where.
    """
    table = Table(COLUMNS, [asdict(row) for row in rows])
    heading = f"# Edits of generated images\n\n{conditions}. The best of each guidance scale is in bold.\n\n"
    table.write(out, heading)
    series = []
    for guidance in dict.fromkeys(row.guidance for row in rows):
        own = [row for row in rows if row.guidance == guidance]
        values, bars = [row.background_db for row in own], [row.background_db_half_width for row in own]
        series.append(Series(f"guidance {guidance}", values, bars))
    draw_dots(
        {"by inversion of decoder and sampler": series},
        places=[name.replace(" ", "\n") for name in dict.fromkeys(row.inversion for row in rows)],
        value="mean background NMSE, dB",
        title="What edits change of the background",
        caption=conditions + "\nbars: 95 % interval of the mean",
        path=out / "editing.png",
    )
    table.print()
