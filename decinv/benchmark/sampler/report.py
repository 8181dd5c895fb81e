"""The report of the sampler benchmark: its columns, and the files that hold them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from decinv.benchmark.sampler.figure import draw_sampler
from decinv.benchmark.sampler.rows import TRUE_LATENT, Row, match
from decinv.benchmark.table import Column, Table, write_csv

COLUMNS = (
    Column("sampler", "sampler", "what is inverted, with its steps"),
    Column("guidance", "guidance", "scale of classifier-free guidance, the same in generation and inversion", "g"),
    Column("decoder", "decoder", "where latents come from: the true ones, or from 8-bit images by an inversion of the decoder"),
    Column("method", "method", "how the sampler is inverted; settings as published or released, but for `scaled`"),
    Column("t0t", "T0T", "mean of |noise - noise*|^2 / |noise*|^2 over the images", ".1e", "lowest"),
    Column("t0t_worst", "worst", "the largest", ".1e", "lowest"),
    Column("t0t_db", "T0T dB", "mean of the same in dB", ".1f", "lowest"),
    Column("t0t_db_worst", "worst dB", "the largest", ".1f", "lowest"),
    Column(
        "round_trip", "0T0", "mean NMSE of the image that is sampled from the noise, against the 8-bit image", ".1e", "lowest"
    ),
    Column("psnr_db", "PSNR dB", "its mean PSNR", ".1f", "highest"),
    Column(
        "evaluations",
        "evaluations",
        "network evaluations for each image, a guided pair counts once; backward passes do not",
        ".0f",
    ),
    Column("seconds", "s/image", "seconds of sampler inversion for each image", ".3g"),
    Column("decoder_seconds", "s decoder", "seconds of decoder inversion for each image", ".3g"),
    Column("status", "status", "how many images ended how, by the worst of their steps"),
)
"""How the rows are shown."""

MATCHES = (
    Column("sampler", "sampler", "what is inverted"),
    Column("guidance", "guidance", "guidance scale", "g"),
    Column("method", "method", "what is compared with ours, from the true latent"),
    Column("t0t", "T0T", "its mean T0T NMSE", ".1e"),
    Column("evaluations", "evaluations", "its network evaluations for each image", ".0f"),
    Column("ours", "ours", "the cheapest of ours that is as accurate or better; empty: none", "", None),
    Column("ours_t0t", "ours T0T", "mean T0T NMSE of ours", ".1e"),
    Column("ours_evaluations", "ours evaluations", "evaluations of ours", ".0f"),
    Column("ratio", "ratio", "evaluations of the method over those of ours", ".1f"),
    Column("seconds_ratio", "time ratio", "the same of seconds", ".1f"),
)
"""How the comparison at the same T0T is shown."""


def tables(rows: Sequence[Row]) -> tuple[Table, Table | None]:
    """Give the table of all rows, and that of the matches where there are any."""
    shown = [{key: value for key, value in asdict(row).items() if key != "residuals"} for row in rows]
    matches = [asdict(one) for one in match(rows)]
    return Table(COLUMNS, shown, leading=3), Table(MATCHES, matches, leading=2) if matches else None


def write_report(rows: Sequence[Row], out: Path, conditions: str, reference: float) -> None:
    """Write table.csv, matched.csv, table.md, steps.csv and sampler.png.

    Args:
        rows: What was measured, by guidance, sampler, decoder and method.
        out: The directory to write into.
        conditions: A phrase on what was measured and where.
        reference: The guidance scale that the figure shows.
    """
    table, same = tables(rows)
    matched = "" if same is None else f"\n## Evaluations at the same T0T\n\n{same.markdown()}"
    table.write(out, f"# Sampler inversion\n\n{conditions}. The best of each group is in bold.\n\n", matched)
    if same is not None:
        same.write_csv(out / "matched.csv")
    write_steps(rows, out / "steps.csv")
    central = [row for row in rows if row.guidance == reference and row.decoder == TRUE_LATENT]
    if central:
        draw_sampler(central, f"{conditions}\nfrom the true latent, guidance {reference:g}; means", out / "sampler.png")


def print_report(rows: Sequence[Row]) -> None:
    """Print the tables."""
    for table in tables(rows):
        if table is not None:
            table.print()


def write_steps(rows: Sequence[Row], path: Path) -> None:
    """Write the residual of each step, a line for each step of each method that has one for each."""
    header = ("sampler", "guidance", "decoder", "method", "step", "residual")
    steps = ((row, index, residual) for row in rows for index, residual in enumerate(row.residuals))
    write_csv(path, header, ([row.sampler, row.guidance, row.decoder, row.method, *step] for row, *step in steps))
