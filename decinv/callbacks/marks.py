"""The marks of a run's images, found in the noise that it recovered."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torchmetrics.functional.classification import binary_roc, multiclass_confusion_matrix

from decinv.metrics.detection import detect, ranks
from decinv.runs import RunDirectory
from decinv.runs.table import format_row, read_rows, write_table
from decinv.watermark.mark import Watermark

AT_ONCE = 64
"""Images whose noise is in memory together."""


class Detected(NamedTuple):
    """One row of the table of marks, with what a ``Finding`` holds; ``None`` is what is not known.

    Attributes:
        name: The image's name.
        true_mark: The mark that its noise was given; -1 for none.
        mark: Number of the mark that fits best.
        key: Fingerprint of its key.
        distance: Mean distance to its Fourier coefficients.
        likeliest: Number of the key that is the likeliest whatever the strength of the noise.
        correlation: Correlation with that one's Fourier coefficients.
        bits: Number of equal bits of its message.
        p_value: Probability that an image without a mark fits any of the marks as well.
        found: Whether that is at most the accepted rate of false alarms.
        score: How likely a mark is; higher is likelier.
    """

    name: str
    true_mark: int | None
    mark: int | None = None
    key: str = ""
    distance: float | None = None
    likeliest: int | None = None
    correlation: float | None = None
    bits: int | None = None
    p_value: float | None = None
    found: bool | None = None
    score: float | None = None


def detect_in_run(run: RunDirectory, watermark: Watermark, which: Callable[[int], int] | None = None) -> list[str]:
    """Look for marks in all images of a finished run that inverted a sampler.

    Writes ``watermark.csv``, a row for each image in the order of results.csv, with empty cells where no noise was recovered,
    and where it is not of the shape that carries the marks. Where the true marks are known and both marked and unmarked images
    were inverted, it writes ``roc.csv``, the curve of rates of false alarms and of marks found, and ``detection.csv``: the area
    under it, rates at 1 % and 0.1 % of false alarms, both with 95 % intervals, and how many keys were told right. Of several
    marks it writes ``confusion.csv``: how often each was read as each other.

    Args:
        run: The run.
        watermark: What to look for.
        which: Gives the true mark of an image by its number, -1 for none.

    Returns:
        Lines that sum up what was found.

    Raises:
        ValueError: If there is noise, but none of it is of the shape of the watermark's keys.
        FileNotFoundError: If the run is not finished or inverted no sampler.
    """
    known: list[Detected] = []
    others: Counter[tuple[int, ...]] = Counter()
    images = judged = alarms = 0

    def rows() -> Iterator[Detected]:
        nonlocal images, judged, alarms
        for row in _detected(run, watermark, which, others):
            images, judged, alarms = images + (row.mark is not None), judged + (row.found is not None), alarms + bool(row.found)
            if row.mark is not None and row.true_mark is not None:
                known.append(row._replace(name="", key=""))
            yield row
        if others and not images:
            raise ValueError(
                f"Expected noise of shape {watermark.shape}, which carries the marks, but got {', '.join(map(str, others))}; "
                "give keys of that shape."
            )

    write_table(run.path / "watermark.csv", Detected._fields, map(format_row, rows()))
    lines = [f"images that carry a mark, at a rate of false alarms of {watermark.fpr:g}: {alarms} of {judged}"]
    if images and not judged:
        lines = ["whether images carry a mark is not known, since these keys have no p-value"]
    lines += [f"images with noise of shape {shape}, which carries no mark: {count}" for shape, count in sorted(others.items())]
    marked = [row for row in known if (row.true_mark or 0) >= 0]
    unmarked = [row for row in known if (row.true_mark or 0) < 0]
    if marked and unmarked:
        lines += _write_rates(run, watermark, marked, unmarked)
    return lines


def _detected(
    run: RunDirectory, watermark: Watermark, which: Callable[[int], int] | None, others: Counter[tuple[int, ...]]
) -> Iterator[Detected]:
    """Give the rows, and count the shapes of noise that cannot carry the marks in ``others``."""
    rows = read_rows(run.results)
    while some := list(islice(rows, AT_ONCE)):
        noises = [run.known_noise(row) for row in some]
        fits = [noise is not None and noise.shape == watermark.shape for noise in noises]
        others.update(tuple(noise.shape) for noise in noises if noise is not None and noise.shape != watermark.shape)
        usable = [noise for noise, fitting in zip(noises, fits, strict=True) if noise is not None and fitting]
        findings = iter(watermark.find(torch.stack(usable)) if usable else [])
        for row, fitting in zip(some, fits, strict=True):
            true = None if which is None or row.number is None else which(row.number)
            found = next(findings)._asdict() if fitting else {}
            yield Detected(row.name, true, **found)


def _write_rates(run: RunDirectory, watermark: Watermark, marked: list[Detected], unmarked: list[Detected]) -> list[str]:
    ours, others = (torch.tensor([row.score for row in rows], dtype=torch.float64) for rows in (marked, unmarked))
    rates = detect(ours, others)
    named = {"AUC": rates.auc, "TPR at 1 % FPR": rates.tpr[0], "TPR at 0.1 % FPR": rates.tpr[1]}
    right = sum(row.mark == row.true_mark for row in marked)
    counts = {"keys told right": right}
    if marked[0].likeliest is not None:
        counts["keys told right by correlation"] = sum(row.likeliest == row.true_mark for row in marked)
    counts |= {"marked images": len(marked), "unmarked images": len(unmarked)}
    table = [*((name, *rate) for name, rate in named.items()), *((name, count, None, None) for name, count in counts.items())]
    write_table(run.path / "detection.csv", ("quantity", "value", "low", "high"), map(format_row, table))
    if watermark.marks > 1:
        legible = [row for row in marked if row.mark != -1]  # what is beyond numbers has no nearest key
        read, true = (torch.tensor([getattr(row, name) for row in legible], dtype=torch.long) for name in ("mark", "true_mark"))
        confusion = multiclass_confusion_matrix(read, true, watermark.marks).tolist()
        columns = ("key", *(f"read as {other}" for other in range(watermark.marks)))
        write_table(run.path / "confusion.csv", columns, (format_row((key, *found)) for key, found in enumerate(confusion)))
    alarms, hits, _ = binary_roc(*ranks(ours, others))
    curve = zip(alarms.tolist(), hits.tolist(), strict=True)
    write_table(run.path / "roc.csv", ("false_alarms", "found"), map(format_row, curve))
    told = [f"{name}: {counts[name]} of {len(marked)}" for name in counts if name.startswith("keys told right")]
    return [*told, *(f"{name}: {rate.value:.4g}" for name, rate in named.items())]
