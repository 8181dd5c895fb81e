"""The report of the benchmark of rules: its rows, its tables, and its figure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from decinv.benchmark.figures.curves import DASHES, Curve, Panel, draw_curves
from decinv.benchmark.figures.figure import COLOURS
from decinv.benchmark.measuring.trajectory import Trajectory
from decinv.benchmark.rules.families import DEFAULT_RULE, ENCODER, Rule
from decinv.benchmark.summary import summarise
from decinv.benchmark.table import Column, Table, Value

Found = Mapping[str, Mapping[Rule, Sequence[Trajectory]]]
"""What was measured, by the codec's name and the rule."""

COLUMNS = (
    Column("codec", "codec", "the codec whose decoder is inverted"),
    Column("evaluations", "evaluations", "evaluations of E(D(z)) that the rule was given; its best iterate so far is reported"),
    Column("rule", "rule", "the update rule"),
    Column("setting", "setting", "its settings; step is 2 lambda beta; Adam has a schedule as long as its run"),
    Column("nmse_db", "NMSE dB", "mean of 10 log10(|z - z*|^2 / |z*|^2) over the images, scaled latents", ".2f", "lowest"),
    Column("nmse_db_half_width", "± dB", "half-width of the 95 % interval of that mean", ".2f"),
    Column("nmse_db_worst", "worst dB", "largest NMSE of an image", ".2f", "lowest"),
    Column("psnr_db", "PSNR dB", "mean PSNR of D(z), clamped, against the 8-bit image", ".2f", "highest"),
)
"""How the rows are shown."""

PUBLISHED = """\
Published, on Stable Diffusion 2.1 at 512 px, 100 generated images, mean NMSE in dB (arXiv 2409.18442, Table S2):

| rule | setting | 20 | 30 | 50 | 100 |
| --- | --- | ---: | ---: | ---: | ---: |
| forward step | rho 0.001 | -16.87 | -17.42 | -18.21 | -19.35 |
| inertial KM | alpha 0.9, step 0.001 | -18.99 | -20.72 | -21.46 | -20.91 |
| Adam | lr 0.01 | -19.39 | -20.84 | -21.71 | -21.85 |

The header is as printed there; the row of Adam is that of the paper's Table S1 after 20, 50, 100 and 200 evaluations.
"""


@dataclass(frozen=True)
class RuleRow:
    """One rule after one number of evaluations, over all images of one codec.

    Attributes:
        codec: The codec's name.
        evaluations: Evaluations that the rule was given; 0 is the start.
        rule: The rule's family.
        setting: Its settings.
        nmse_db: Mean NMSE of the scaled latents against the truth, dB.
        nmse_db_half_width: Half-width of the normal 95 % interval of that mean, dB; nan if a value is not finite.
        nmse_db_worst: Largest NMSE of an image, dB.
        psnr_db: Mean PSNR of D(z), clamped, against the 8-bit image, dB.
    """

    codec: str
    evaluations: int
    rule: str
    setting: str
    nmse_db: float
    nmse_db_half_width: float
    nmse_db_worst: float
    psnr_db: float


def rule_rows(found: Found) -> list[RuleRow]:
    """Give the rows, by codec, then by number of evaluations, then in the order of the rules."""
    rows = []
    for codec, by_rule in found.items():
        own = []
        for rule, runs in by_rule.items():
            for run in runs:
                for mark, psnr in run.psnr_db.items():
                    error = summarise(run.nmse_db[mark])
                    own.append(RuleRow(codec, mark, rule.family, rule.setting, *error, float(psnr.mean())))
        rows += sorted(own, key=lambda row: row.evaluations)
    return rows


def overview(rows: Sequence[RuleRow], marks: Sequence[int]) -> Table:
    """Give the table in the published form: one row a rule, the mean NMSE after each number of evaluations."""
    means = {(row.codec, row.rule, row.setting, row.evaluations): row.nmse_db for row in rows}
    found: list[dict[str, Value]] = []
    for codec, rule, setting in dict.fromkeys(key[:3] for key in means):
        start = means.get((codec, rule, setting, 0))
        cells = {str(mark): means.get((codec, rule, setting, mark), start) for mark in marks}
        found.append({"codec": codec, "rule": rule, "setting": setting, **cells})
    named = [column for column in COLUMNS if column.key in ("codec", "rule", "setting")]
    errors = [Column(str(mark), str(mark), f"mean NMSE in dB after {mark} evaluations", ".2f", "lowest") for mark in marks]
    return Table([*named, *errors], found)


def panels(found: Found) -> list[Panel]:
    """Give the figure's panels: NMSE against evaluations, families by colour and learning rates by line style."""
    return [Panel(codec, _curves(by_rule), (by_rule[ENCODER][0].means_db[0], "encoder")) for codec, by_rule in found.items()]


def _curves(by_rule: Mapping[Rule, Sequence[Trajectory]]) -> list[Curve]:
    """Give one curve a rule: every evaluation of its one run, or the ends of the runs that a schedule spans."""
    curves = []
    families = [family for family in dict.fromkeys(rule.family for rule in by_rule) if family != ENCODER.family]
    for family, colour in zip(families, COLOURS, strict=False):
        own = [(rule, runs) for rule, runs in by_rule.items() if rule.family == family]
        for place, (rule, runs) in enumerate(own):
            if rule.scheduled:
                points = [(len(run.means_db) - 1, run.means_db[-1]) for run in runs]
            else:
                points = list(enumerate(runs[0].means_db))[1:]
            default = rule is DEFAULT_RULE
            curves.append(
                Curve(
                    family,
                    rule.setting,
                    [float(cost) for cost, _ in points],
                    [error for _, error in points],
                    "black" if default else colour,
                    DASHES[len(own) - 1 - place],
                    marker="o" if rule.scheduled else "",
                    emphasised=default,
                )
            )
    return curves


def write_rules(found: Found, marks: Sequence[int], out: Path, conditions: str) -> None:
    """Write table.csv, table.md and rules.png, and print the overview.

    Args:
        found: What was measured.
        marks: Numbers of evaluations after which to report.
        out: The directory to write into.
        conditions: A phrase on what was measured and where.
    """
    rows = rule_rows(found)
    table, short = Table(COLUMNS, [asdict(row) for row in rows], leading=2), overview(rows, marks)
    above = (
        f"# Update rules and learning rates\n\n{conditions}. The best of each codec is in bold.\n\n{short.markdown()}\n"
        f"{PUBLISHED}\n## All figures\n\nThe best of each codec and number of evaluations is in bold.\n\n"
    )
    table.write(out, above)
    draw_curves(
        panels(found),
        cost="evaluations",
        quality="mean NMSE of the latent, dB",
        title="Gradient-free decoder inversion: what the update rule and its step size decide",
        caption=f"{conditions}\npoints: runs under a schedule as long as the run",
        path=out / "rules.png",
    )
    short.print()
    print(PUBLISHED)
