"""The report of the robustness benchmark: its rows, its columns and its figure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from decinv.benchmark.figures.dots import Series, draw_dots
from decinv.benchmark.measuring.methods import DEFAULT
from decinv.benchmark.table import Column, Table


@dataclass(frozen=True)
class Row:
    """One method after one number of iterations on images with one distortion, over all images.

    Attributes:
        distortion: The distortion's name.
        codec: The codec's name.
        method: The method's name.
        iterations: Evaluations that the method was given; 0 is the start.
        nmse_db: Mean NMSE of the scaled latents against the truth, dB.
        nmse_db_half_width: Half-width of the normal 95 % interval of that mean, dB; nan if a value is not finite.
        nmse_db_worst: Largest NMSE of an image, dB.
        psnr_distorted_db: Mean PSNR of D(z), clamped, against the distorted image, dB.
        psnr_clean_db: Mean PSNR of D(z), clamped, against the image before its distortion, dB.
    """

    distortion: str
    codec: str
    method: str
    iterations: int
    nmse_db: float
    nmse_db_half_width: float
    nmse_db_worst: float
    psnr_distorted_db: float
    psnr_clean_db: float


COLUMNS = (
    Column("distortion", "distortion", "what was done to the 8-bit images before their inversion; the result has 8 bits too"),
    Column("codec", "codec", "its name"),
    Column("method", "method", "name and settings; one that says `cosine` or `paper` has a schedule as long as its run"),
    Column(
        "iterations", "iterations", "evaluations that the method was given; its best iterate so far is reported, 0 is the start"
    ),
    Column(
        "nmse_db", "NMSE dB", "mean of 10 log10(|z - z*|^2 / |z*|^2), scaled latents; z* made the clean image", ".2f", "lowest"
    ),
    Column("nmse_db_half_width", "± dB", "half-width of the 95 % interval of that mean", ".2f"),
    Column("nmse_db_worst", "worst dB", "largest NMSE of an image", ".2f", "lowest"),
    Column(
        "psnr_distorted_db", "PSNR distorted", "mean PSNR of D(z), clamped, against the distorted image, dB", ".2f", "highest"
    ),
    Column("psnr_clean_db", "PSNR clean", "the same against the image before its distortion", ".2f", "highest"),
)
"""How the rows are shown."""


def write_report(rows: Sequence[Row], out: Path, conditions: str) -> None:
    """Write table.csv, table.md and robustness.png, and print the table.

    Args:
        rows: What was measured, by codec, then distortion, then method.
        out: The directory to write into.
        conditions: A phrase on what was measured and where, for table.md and the figure.
    """
    table = Table(COLUMNS, [asdict(row) for row in rows])
    heading = f"# Decoder inversion of distorted images\n\n{conditions}. The best of each distortion is in bold.\n\n"
    table.write(out, heading)
    draw_dots(
        {
            f"codec: {codec}": series([row for row in rows if row.codec == codec])
            for codec in dict.fromkeys(row.codec for row in rows)
        },
        places=list(dict.fromkeys(row.distortion for row in rows)),
        value="mean NMSE of the latent, dB",
        title="Decoder inversion of distorted images: how close to the true latent",
        caption=conditions + "\nbars: 95 % interval of the mean",
        path=out / "robustness.png",
    )
    table.print()


def series(rows: Sequence[Row]) -> list[Series]:
    """Give the figure's series of one codec: NMSE by distortion, one series a method and number of iterations."""
    kinds = dict.fromkeys((row.method, row.iterations) for row in rows)
    found = []
    for method, iterations in kinds:
        own = [row for row in rows if (row.method, row.iterations) == (method, iterations)]
        label = f"{method}, {iterations}" if iterations else method
        values = [row.nmse_db for row in own]
        found.append(Series(label, values, [row.nmse_db_half_width for row in own], emphasised=method == DEFAULT))
    return found
