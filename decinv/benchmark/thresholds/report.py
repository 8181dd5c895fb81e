"""The report of the benchmark of evaluations needed: its rows, its headline, its table, and its figure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from decinv.benchmark.figures.curves import Curve, Panel, draw_curves
from decinv.benchmark.figures.figure import looks
from decinv.benchmark.measuring.methods import DEFAULT, PAPER, DecoderMethod
from decinv.benchmark.measuring.trajectory import Trajectory
from decinv.benchmark.table import Column, Table
from decinv.benchmark.thresholds.reaching import Level, needed

Found = Mapping[str, Mapping[DecoderMethod, Sequence[Trajectory]]]
"""What was measured, by the codec's name and the method."""

ENCODER = "encoder"

COLUMNS = (
    Column("codec", "codec", "the codec whose decoder is inverted"),
    Column(
        "level",
        "level",
        f"the mean NMSE to reach; the last is what `{PAPER}` reports at the end of its longest run, and on each image its own",
    ),
    Column("level_db", "level dB", "that mean NMSE", ".2f"),
    Column("method", "method", "name and settings; one that says `cosine` or `paper` has a schedule as long as its run"),
    Column(
        "evaluations",
        "evaluations",
        "least number after which the mean NMSE of what is reported is at or below the level, over all runs; an evaluation is "
        "a decode and an encode, or a decode and its backward pass; 0 is the encoder's latent",
        "d",
        "lowest",
        "never",
    ),
    Column("ratio", "times fewer", f"evaluations of `{PAPER}` over these, where both reach the level", ".1f", "highest"),
    Column("seconds", "s/image", "seconds for each image until then, timed once", ".3g", "lowest"),
    Column(
        "median_evaluations",
        "median image",
        "median over the images of the least number after which the image's own NMSE is at or below the level",
        "g",
        "lowest",
        "never",
    ),
    Column("reached", "images", "part of the images on which it ever is", ".0%", "highest"),
)
"""How the rows are shown."""


@dataclass(frozen=True)
class ThresholdRow:
    """What one method needs to reach one level on one codec; ``None`` where it never does.

    Attributes:
        codec: The codec's name.
        level: The level's name.
        level_db: The level, dB.
        method: The method's name.
        evaluations: Evaluations until the mean NMSE is at or below the level.
        ratio: Those of the paper's Adam over these; ``None`` where one of them is 0 or there is none too.
        seconds: Seconds for each image until then.
        median_evaluations: Median over the images of the evaluations until the image's own NMSE is.
        reached: Part of the images on which it ever is.
    """

    codec: str
    level: str
    level_db: float
    method: str
    evaluations: int | None
    ratio: float | None
    seconds: float | None
    median_evaluations: float | None
    reached: float


def threshold_rows(found: Found, levels: Sequence[float]) -> list[ThresholdRow]:
    """Give the rows, by codec, then by level, the paper's end last, then in the order of the methods."""
    rows = []
    for codec, by_method in found.items():
        by_name = {method.name: runs for method, runs in by_method.items()}
        count = by_name[PAPER][0].nmse_db.shape[1]
        for level in [*(Level.fixed(value, count) for value in levels), Level.end_of(PAPER, by_name[PAPER])]:
            paper = needed(by_name[PAPER], level).evaluations
            for name, runs in by_name.items():
                own = needed(runs, level)
                ratio = paper / own.evaluations if paper and own.evaluations else None
                rows.append(ThresholdRow(codec, level.name, level.mean_db, name, own.evaluations, ratio, *own[1:]))
    return rows


def headlines(found: Found, rows: Sequence[ThresholdRow]) -> list[str]:
    """Say for each codec when the default equals or beats the end of the longest run of the paper's Adam."""
    sentences = []
    for codec, by_method in found.items():
        length = max(len(run.nmse_db) - 1 for method, runs in by_method.items() if method.name == PAPER for run in runs)
        row = [row for row in rows if (row.codec, row.method) == (codec, DEFAULT)][-1]
        when = "never" if row.evaluations is None else f"after {row.evaluations}"
        fewer = f": {length / row.evaluations:.1f} times fewer" if row.evaluations else ""
        median = "never" if row.median_evaluations is None else f"after {row.median_evaluations:g}"
        sentences.append(
            f"{codec}: `{DEFAULT}` equals or beats `{PAPER}` at {length} evaluations ({row.level_db:.2f} dB) {when}{fewer}; "
            f"on the median image {median}."
        )
    return sentences


def panels(found: Found, rows: Sequence[ThresholdRow]) -> list[Panel]:
    """Give the figure's panels: levels against the evaluations needed, one line a method, gradient descent dashed."""
    names = [name for name in dict.fromkeys(row.method for row in rows) if name != ENCODER]
    styles = dict(zip((name for name in names if name != DEFAULT), looks(), strict=False))
    drawn = []
    for codec, by_method in found.items():
        curves = []
        for name in names:
            own = [row for row in rows if (row.codec, row.method) == (codec, name) and row.evaluations]
            own.sort(key=lambda row: -row.level_db)
            colour, marker = styles.get(name, ("black", "o"))
            curves.append(
                Curve(
                    name,
                    "",
                    [float(row.evaluations or 0) for row in own],
                    [row.level_db for row in own],
                    colour,
                    (0, (4, 1.5)) if name.startswith("gradient") else "-",
                    marker,
                    [f"{row.ratio:.0f}x" if row.ratio and name == DEFAULT else "" for row in own],
                    emphasised=name == DEFAULT,
                )
            )
        (start,) = (runs[0].means_db[0] for method, runs in by_method.items() if method.name == ENCODER)
        drawn.append(Panel(codec, curves, (start, ENCODER)))
    return drawn


def write_thresholds(found: Found, levels: Sequence[float], out: Path, conditions: str) -> None:
    """Write table.csv, table.md and thresholds.png, and print the table.

    Args:
        found: What was measured.
        levels: Levels of the mean NMSE, dB.
        out: The directory to write into.
        conditions: A phrase on what was measured and where.
    """
    rows = threshold_rows(found, levels)
    table, sentences = Table(COLUMNS, [asdict(row) for row in rows], leading=2), headlines(found, rows)
    heading = "# Evaluations needed\n\n" + "".join(f"{sentence}\n\n" for sentence in sentences)
    table.write(out, f"{heading}{conditions}. The best of each codec and level is in bold.\n\n")
    draw_curves(
        panels(found, rows),
        cost="evaluations needed",
        quality="mean NMSE to reach, dB",
        title="Decoder inversion: how many evaluations an error of the latent takes",
        caption=f"{conditions}\ndashed: with backpropagation; numbers: times fewer evaluations than {PAPER}; "
        "a line ends where its method gets no further",
        path=out / "thresholds.png",
    )
    table.print()
    print("\n".join(sentences))
