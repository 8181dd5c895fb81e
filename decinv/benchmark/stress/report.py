"""The report of the stress benchmark: its columns, its figure, and the files that hold them."""

from collections.abc import Sequence
from pathlib import Path

from decinv.benchmark.figures.dot_rows import Panel, draw_dot_rows
from decinv.benchmark.measuring.methods import DEFAULT
from decinv.benchmark.stress.measure import StressRow
from decinv.benchmark.table import Column, Table, Value

HARM = 0.5
"""A sample whose NMSE is more than this above the encoder's, in dB, was harmed."""

STOPPED = "the latents reported under the default stopping rule"


def write_report(rows: Sequence[StressRow], out: Path, conditions: str) -> None:
    """Write table.csv, table.md and stress.png, and print the table.

    Args:
        rows: What was measured, the methods of a codec next to each other.
        out: The directory to write into.
        conditions: A phrase on what was measured and where, for table.md and the figure.
    """
    marks = sorted({mark for row in rows for mark in row.nmse_db})
    table = Table(columns(marks), [cells(row, marks) for row in rows])
    heading = f"# Decoder inversion on hard codecs\n\n{conditions}. The best of each codec is in bold.\n\n"
    table.write(out, heading)
    draw(rows, out / "stress.png", conditions)
    table.print()


def columns(marks: Sequence[int]) -> tuple[Column, ...]:
    """Give the columns for these numbers of iterations."""
    return (
        Column("codec", "codec", "what was done to it; of a linear codec the eigenvalues of E(D(.))"),
        Column("method", "method", "name and settings"),
        Column("start_db", "E dB", "mean NMSE of the codec's own encoder latents", ".1f"),
        *(Column(f"nmse_db_{k}", str(k), f"mean NMSE after {k} iterations, dB", ".1f", "lowest") for k in marks),
        *(
            Column(f"worst_db_{k}", f"w{k}", f"largest NMSE of an image after {k} iterations, dB", ".1f", detail=True)
            for k in marks
        ),
        Column("worst_change", "harm", "largest change of an image's NMSE from the encoder's after any of these, dB", "+.1f"),
        Column(
            "drift",
            "drift",
            "largest rise of the mean or largest NMSE from one of these to a later one, dB",
            ".1f",
            detail=True,
        ),
        Column("outcomes", "stops as", "how many images end with which status under the default stopping rule"),
        Column("iterations", "after", "mean number of iterations then", ".0f", detail=True),
        Column("stopped_db", "end dB", f"mean NMSE of {STOPPED}", ".1f", "lowest"),
        Column("stopped_change", "end harm", f"that change of {STOPPED}, dB", "+.1f"),
        Column("residual_start", "T(z0)", "mean relative residual at the start", ".0e", detail=True),
        Column("residual_end", "T(z)", f"mean relative residual of {STOPPED}", ".0e"),
        Column(
            "cocoercivity",
            "beta",
            "smallest cocoercivity of T towards the true latent on the way, until the residual fell to a tenth",
            ".2g",
            detail=True,
        ),
        Column("psnr_start", "PSNR0", "mean PSNR of D(z) at the start, against the 8-bit image, dB", ".1f", detail=True),
        Column("psnr_end", "PSNR", f"that of {STOPPED}", ".1f", "highest"),
    )


def cells(row: StressRow, marks: Sequence[int]) -> dict[str, Value]:
    """Give the cells of one row; those of numbers that the method was not given are empty."""
    values: dict[str, Value] = {k: v for k, v in vars(row).items() if k not in ("nmse_db", "worst_db")}
    values |= {f"nmse_db_{mark}": row.nmse_db.get(mark) for mark in marks}
    return values | {f"worst_db_{mark}": row.worst_db.get(mark) for mark in marks}


def draw(rows: Sequence[StressRow], path: Path, conditions: str) -> None:
    """Draw NMSE and harm under the default stopping rule, one row a codec."""
    codecs = list(dict.fromkeys(row.codec for row in rows))
    by_method = {name: [row for row in rows if row.method == name] for name in dict.fromkeys(row.method for row in rows)}
    panels = [
        Panel(
            "mean NMSE of the latent, dB, lower is better",
            {name: [row.stopped_db for row in own] for name, own in by_method.items()},
            ticks=[row.start_db for row in next(iter(by_method.values()))],
        ),
        Panel(
            f"the worst image's change from the encoder, dB;\nshaded: worse by {HARM}",
            {name: [row.stopped_change for row in own] for name, own in by_method.items()},
            bad=HARM,
        ),
    ]
    draw_dot_rows(
        codecs,
        panels,
        DEFAULT,
        title="Decoder inversion on hard codecs, as each method stops by itself",
        caption=conditions,
        path=path,
    )
