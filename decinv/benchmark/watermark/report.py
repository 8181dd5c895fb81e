"""The report of the watermark benchmark: its rows, its columns and its figure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from decinv.benchmark.figures.dots import Series, draw_dots
from decinv.benchmark.measuring.methods import DEFAULT
from decinv.benchmark.summary import summarise as interval
from decinv.benchmark.table import Column, Table, write_csv
from decinv.metrics.detection import detect
from decinv.watermark import Finding


@dataclass(frozen=True)
class Row:
    """One inversion of decoder and sampler on images after one attack, over all images; see ``COLUMNS``."""

    attack: str
    decoder: str
    iterations: int
    sampler: str
    right: int
    right_by_correlation: int
    marked: int
    auc: float
    auc_low: float
    auc_high: float
    tpr_1: float
    tpr_1_low: float
    tpr_1_high: float
    tpr_01: float
    tpr_01_low: float
    tpr_01_high: float
    alarms: float | None
    noise_nmse_db: float
    noise_nmse_half_width: float
    latent_nmse_db: float
    decoder_seconds: float
    sampler_seconds: float
    peak_mib: float
    confusion: tuple[tuple[int, ...], ...] = ()


COLUMNS = (
    Column("attack", "attack", "what was done to the 8-bit images"),
    Column("decoder", "decoder", "how the decoder is inverted"),
    Column("iterations", "iterations", "of that inversion at most; 0 for the encoder alone"),
    Column("sampler", "sampler", "how DDIM is inverted"),
    Column("right", "keys right", "marked images whose own key is the nearest, as the papers tell it", "", "highest"),
    Column("right_by_correlation", "by correlation", "marked images whose own key correlates best", "", "highest"),
    Column("marked", "of", "marked images; there are as many unmarked ones as of each key"),
    Column("auc", "AUC", "area under the ROC curve of marked against unmarked images, by the correlation", ".3f", "highest"),
    Column("auc_low", "AUC from", "lower end of its 95 % interval", ".3f", detail=True),
    Column("auc_high", "AUC to", "upper end", ".3f", detail=True),
    Column("tpr_1", "TPR 1 %", "rate of marked images found at 1 % of false alarms", ".3f", "highest"),
    Column("tpr_1_low", "1 % from", "lower end of its 95 % interval", ".3f", detail=True),
    Column("tpr_1_high", "1 % to", "upper end", ".3f", detail=True),
    Column(
        "tpr_01", "TPR 0.1 %", "the same at 0.1 %; below 1000 unmarked images none of them may be an alarm", ".3f", "highest"
    ),
    Column("tpr_01_low", "0.1 % from", "lower end of its 95 % interval", ".3f", detail=True),
    Column("tpr_01_high", "0.1 % to", "upper end", ".3f", detail=True),
    Column(
        "alarms",
        "p < 0.05",
        "part of unmarked images whose p-value is below 0.05; 0.05 at most for white noise",
        ".3f",
    ),
    Column("noise_nmse_db", "noise NMSE dB", "mean NMSE of the recovered noise of marked images", ".2f", "lowest"),
    Column("noise_nmse_half_width", "± dB", "half-width of the 95 % interval of that mean", ".2f", detail=True),
    Column("latent_nmse_db", "latent NMSE dB", "mean NMSE of their scaled latents", ".2f", "lowest"),
    Column("decoder_seconds", "s decoder", "seconds of decoder inversion for each image", ".3g"),
    Column("sampler_seconds", "s sampler", "seconds of sampler inversion for each image", ".3g"),
    Column("peak_mib", "MiB/image", "peak memory of decoder inversion beyond codec and images", ".1f", "lowest"),
)
"""How the rows are shown."""


def summarise(
    attack: str,
    decoder: str,
    iterations: int,
    sampler: str,
    findings: Sequence[Finding],
    which: Tensor,
    marks: int,
    latent_nmse_db: Tensor,
    noise_nmse_db: Tensor,
    decoder_seconds: float,
    sampler_seconds: float,
    peak_mib: float,
) -> Row:
    """Reduce the findings in ``N`` images to one row.

    Args:
        attack: What was done to the images.
        decoder: How the decoder was inverted.
        iterations: Its iterations.
        sampler: How the sampler was inverted.
        findings: What was found, ``N``.
        which: The mark of each image, ``(N,)``; -1 for none.
        marks: Number of different marks.
        latent_nmse_db: NMSE of the latents, ``(N,)``, dB.
        noise_nmse_db: NMSE of the noises, ``(N,)``, dB.
        decoder_seconds: Seconds of decoder inversion for an image.
        sampler_seconds: Seconds of sampler inversion for an image.
        peak_mib: Peak memory of decoder inversion for an image, MiB.
    """
    marked = which >= 0
    scores = torch.tensor([finding.score for finding in findings], dtype=torch.float64)
    named = torch.tensor([finding.mark for finding in findings])[marked]
    likeliest = [finding.likeliest == own for finding, own in zip(findings, which.tolist(), strict=True) if own >= 0]
    p_values = [finding.p_value for finding, own in zip(findings, marked.tolist(), strict=True) if not own]
    known = [p for p in p_values if p is not None]
    found = detect(scores[marked], scores[~marked])
    noise = interval(noise_nmse_db[marked])
    told = named >= 0  # noise that is not finite has no nearest key
    confusion = (
        multiclass_confusion_matrix(named[told], which[marked][told], num_classes=marks)
        if marks > 1
        else torch.tensor([[int(marked.sum())]])
    )
    return Row(
        attack,
        decoder,
        iterations,
        sampler,
        int((named == which[marked]).sum()),
        sum(likeliest),
        int(marked.sum()),
        *found.auc,
        *found.tpr[0],
        *found.tpr[1],
        sum(p < 0.05 for p in known) / len(known) if known else None,
        noise.mean,
        noise.half_width,
        float(latent_nmse_db[marked].mean()),
        decoder_seconds,
        sampler_seconds,
        peak_mib,
        tuple(tuple(row) for row in confusion.tolist()),
    )


def write_report(rows: Sequence[Row], out: Path, conditions: str) -> None:
    """Write table.csv, table.md, confusion.csv and watermark.png, and print the table.

    Args:
        rows: What was measured, by attack, then decoder, then sampler.
        out: The directory to write into.
        conditions: A phrase on what was measured and where.
    """
    table = Table(COLUMNS, [{key: value for key, value in asdict(row).items() if key != "confusion"} for row in rows])
    heading = f"# Watermarks after attacks\n\n{conditions}; marked as often. The best of each attack is in bold.\n\n"
    table.write(out, heading)
    write_confusion(rows, out / "confusion.csv")
    samplers = list(dict.fromkeys(row.sampler for row in rows))
    draw_dots(
        {f"{name} inversion of the sampler": _series([row for row in rows if row.sampler == name]) for name in samplers},
        places=list(dict.fromkeys(row.attack for row in rows)),
        value="mean NMSE of the noise, dB",
        title="Noise recovered from attacked images, by inversion of the decoder",
        caption=conditions + "\nbars: 95 % interval of the mean",
        path=out / "watermark.png",
    )
    table.print()


def write_confusion(rows: Sequence[Row], path: Path) -> None:
    """Write how often each key was read as each other, one line for each key of each row."""
    names = [field.name for field in fields(Row)[:4]]
    header = [*names, "key", *(f"read as {index}" for index in range(len(rows[0].confusion)))]
    counted = ((row, key, counts) for row in rows for key, counts in enumerate(row.confusion))
    write_csv(path, header, ([*(getattr(row, name) for name in names), key, *counts] for row, key, counts in counted))


def _series(rows: Sequence[Row]) -> list[Series]:
    found = []
    for decoder in dict.fromkeys(row.decoder for row in rows):
        own = [row for row in rows if row.decoder == decoder]
        label = f"{decoder}, {own[0].iterations}" if own[0].iterations else decoder
        values, bars = [row.noise_nmse_db for row in own], [row.noise_nmse_half_width for row in own]
        found.append(Series(label, values, bars, emphasised=decoder == DEFAULT))
    return found
