"""The report of the decoder benchmark: its columns, its figure's lines, and the files that hold them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from decinv.benchmark.decoder import matched
from decinv.benchmark.decoder.compare import Row
from decinv.benchmark.figures.pareto import Line, Panel, draw_pareto
from decinv.benchmark.measuring.metering import METERED
from decinv.benchmark.measuring.methods import DEFAULT, GRADIENT
from decinv.benchmark.table import Column, Table

COLUMNS = (
    Column("codec", "codec", "its name"),
    Column(
        "iterations", "iterations", "evaluations that the method was given; its best iterate so far is reported, 0 is the start"
    ),
    Column(
        "method",
        "method",
        "name and settings; one that says `cosine`, `paper` or `published` has a schedule as long as its run. A published loop "
        "goes image by image, copies the autoencoder in each iteration of float32, samples E and reports the last iterate",
    ),
    Column("dtype", "dtype", "number format of the codec's arithmetic"),
    Column("nmse_db", "NMSE dB", "mean of 10 log10(|z - z*|^2 / |z*|^2) over the images, scaled latents", ".2f", "lowest"),
    Column("nmse_db_half_width", "± dB", "half-width of the 95 % interval of that mean", ".2f"),
    Column("nmse_db_to_float32", "to float32", "that mean minus the same method's with the codec in float32, dB", "+.2f"),
    Column("nmse_db_worst", "worst dB", "largest NMSE of an image", ".2f", "lowest"),
    Column(
        "nmse_db_worst_change", "worst change", "largest change of an image's NMSE from the encoder's, dB", "+.2f", "lowest"
    ),
    Column("psnr_db", "PSNR dB", "mean PSNR of D(z), clamped, against the 8-bit image", ".2f", "highest"),
    Column(
        "residual", "residual", "mean of |E(D(z)) - E(x)| / |E(x)|, raw latents, D(z) as the codec clamps it", ".2e", "lowest"
    ),
    Column("decodes", "D", "decodes for each image", ".4g"),
    Column("encodes", "E", "encodes for each image, E(x) included", ".4g"),
    Column("backwards", "backward", "backward passes through the decoder for each image", ".4g"),
    Column("seconds", "s/image", "seconds for each image, median over the repeats", ".3g", "lowest"),
    Column("relative_seconds", "time ratio", f"seconds over those of `{GRADIENT}` for as many iterations", ".2f", "lowest"),
    Column(
        "peak_mib",
        "MiB/image",
        "peak memory beyond codec and images, for each of the images inverted at once; the same in all rows of a method, whose "
        f"longest run is metered on the first batch (a published loop on one image) for its first {METERED} iterations, after "
        "which every history is full",
        ".2f",
        "lowest",
    ),
    Column(
        "peak_passes", "x pass", "that peak over that of encoding and decoding as many images once, no solver", ".2f", "lowest"
    ),
)
"""How the rows are shown."""

PAPER = """\
## As published

From Table S1 of arXiv 2409.18442: Stable Diffusion 2.1, 512 px, 100 images one by one, RTX 3090 Ti, the authors' code. NMSE in
dB @ iterations / seconds for each image; peak memory with the whole pipeline. Codec, images and device differ from those above,
so its figures compare with each other only.

| method | | | | | GB |
|---|---|---|---|---|---|
| gradient, 0.1 cosine | -15.92 @ 20 / 6.1 | -17.84 @ 30 / 9.3 | -20.69 @ 50 / 15.7 | -24.82 @ 100 / 31.7 | 8.83 |
| gradient, 0.01 fixed | -18.61 @ 20 / 6.3 | -19.51 @ 30 / 9.4 | -20.93 @ 50 / 16.0 | -23.00 @ 100 / 32.8 | 8.83 |
| gradient-free, float32 | -19.39 @ 20 / 3.3 | -20.84 @ 50 / 8.5 | -21.71 @ 100 / 17.7 | -21.85 @ 200 / 34.5 | 3.81 |
| gradient-free, float16 | -18.74 @ 20 / 1.9 | -20.82 @ 50 / 4.9 | -21.72 @ 100 / 9.6 | -21.86 @ 200 / 19.3 | 3.15 |
"""


def write_report(rows: Sequence[Row], out: Path, conditions: str) -> None:
    """Write table.csv, matched.csv, table.md and pareto.png, and print the tables.

    Args:
        rows: What was measured, by codec and then by number of iterations.
        out: The directory to write into.
        conditions: A phrase on what was measured and where, for table.md and the figure.
    """
    table = Table(COLUMNS, [asdict(row) for row in rows], leading=2)
    same = Table(matched.COLUMNS, [asdict(found) for found in matched.match(rows)])
    same.write_csv(out / "matched.csv")
    heading = f"# Decoder inversion\n\n{conditions}. The best of each number of iterations is in bold.\n\n"
    equal = f"\n## Time at the same NMSE\n\n{same.markdown()}\n"
    table.write(out, heading, equal + PAPER)
    draw_pareto(
        [panels([row for row in rows if row.codec == codec], codec) for codec in dict.fromkeys(row.codec for row in rows)],
        title="Decoder inversion: how close to the true latent, how fast, and in how much memory",
        caption=conditions
        + "\ndashed: with backpropagation; numbers: iterations; right: the most accurate result of each method",
        path=out / "pareto.png",
    )
    table.print()
    same.print()


def panels(rows: Sequence[Row], codec: str) -> list[Panel]:
    """Give the panels of one codec: NMSE against seconds, and the lowest NMSE of each method against its memory.

    In the first number format all methods are shown, in others the default alone.

    Args:
        rows: The codec's rows.
        codec: Its name.
    """
    first = rows[0].dtype
    shown = dict.fromkeys((row.method, row.dtype) for row in rows if row.dtype == first or row.method == DEFAULT)
    groups = [[row for row in rows if (row.method, row.dtype) == key] for key in shown]
    quality = "mean NMSE of the latent, dB"
    return [
        Panel([_line(own, [row.seconds for row in own], first) for own in groups], "seconds per image", quality, codec),
        Panel(
            [_line([best], [best.peak_mib], first) for best in (min(own, key=lambda row: row.nmse_db) for own in groups)],
            "peak memory per image beyond the codec, MiB",
            quality,
        ),
    ]


def _line(rows: Sequence[Row], cost: Sequence[float], first: str) -> Line:
    """Give the line of a method's rows against a cost; ``first`` is the number format that labels leave out."""
    row = rows[-1]
    emphasised = row.method == DEFAULT and row.dtype == first
    return Line(
        row.method if row.dtype == first else f"{row.method}, {row.dtype}",
        cost,
        [row.nmse_db for row in rows],
        [str(row.iterations) if emphasised else "" for row in rows],
        emphasised=emphasised,
        dashed=row.backwards > 0,
        lone=len(rows) == 1 and row.iterations > 0,
    )
