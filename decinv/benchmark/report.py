"""The report of the decoder benchmark: its columns, its figure's lines, and the files that hold them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from decinv.benchmark.compare import Row
from decinv.benchmark.figure import Line, draw_pareto
from decinv.benchmark.methods import DEFAULT, GRADIENT
from decinv.benchmark.table import Column, Table

COLUMNS = (
    Column(
        "iterations", "iterations", "evaluations that the method was given; its best iterate so far is reported, 0 is the start"
    ),
    Column("method", "method", "name and settings; one that says `cosine` or `paper` has a schedule as long as its run"),
    Column("nmse_db", "NMSE dB", "mean of 10 log10(|z - z*|^2 / |z*|^2) over the images, scaled latents", ".2f", "lowest"),
    Column("nmse_db_half_width", "± dB", "half-width of the 95 % interval of that mean", ".2f"),
    Column("nmse_db_worst", "worst dB", "largest NMSE of an image", ".2f", "lowest"),
    Column(
        "nmse_db_worst_change", "worst change", "largest change of an image's NMSE from the encoder's, dB", "+.2f", "lowest"
    ),
    Column("psnr_db", "PSNR dB", "mean PSNR of D(z), clamped, against the 8-bit image", ".2f", "highest"),
    Column("residual", "residual", "mean of |E(D(z)) - E(x)| / |E(x)|, raw latents", ".2e", "lowest"),
    Column("decodes", "D", "decodes for each image", ".4g"),
    Column("encodes", "E", "encodes for each image, E(x) included", ".4g"),
    Column("backwards", "backward", "backward passes through the decoder for each image", ".4g"),
    Column("seconds", "s/image", "seconds for each image, median over the repeats", ".3g", "lowest"),
    Column("relative_seconds", "time ratio", f"seconds over those of `{GRADIENT}` for as many iterations", ".2f", "lowest"),
    Column("peak_mib", "MiB", "peak memory of one chunk beyond codec and images", ".1f", "lowest"),
)
"""How the rows are shown."""


def write_report(rows: Sequence[Row], out: Path, conditions: str) -> None:
    """Write table.csv, table.md and pareto.png, and print the table.

    Args:
        rows: What was measured.
        out: The directory to write into.
        conditions: A phrase on what was measured and where, for table.md and the figure.
    """
    table = Table(COLUMNS, [asdict(row) for row in rows])
    table.write_csv(out / "table.csv")
    heading = f"# Decoder inversion\n\n{conditions}. The best of each number of iterations is in bold.\n\n"
    (out / "table.md").write_text(heading + table.markdown(), encoding="utf-8")
    draw_pareto(
        lines(rows),
        cost="seconds per image",
        quality="mean NMSE of the latent, dB",
        title="Decoder inversion: how close to the true latent, and how fast",
        caption=conditions + "\ndashed: with backpropagation; numbers: iterations of the default",
        path=out / "pareto.png",
    )
    table.print()


def lines(rows: Sequence[Row]) -> list[Line]:
    """Give the figure's lines: NMSE against seconds per image, one line a method, in the order of the rows."""
    found = []
    for name in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == name]
        emphasised = name == DEFAULT
        found.append(
            Line(
                name,
                [row.seconds for row in own],
                [row.nmse_db for row in own],
                [str(row.iterations) if emphasised else "" for row in own],
                emphasised=emphasised,
                dashed=own[-1].backwards > 0,
            )
        )
    return found
