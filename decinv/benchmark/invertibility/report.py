"""The report of the benchmark of decoders themselves: its rows, its table, and the figure of their singular values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from decinv.benchmark.figures.figure import head, looks, open_up
from decinv.benchmark.measuring.methods import DEFAULT
from decinv.benchmark.table import Column, Table
from decinv.callbacks.sheet import plain
from decinv.metrics.conditioning import ROUNDING


class Spectrum(NamedTuple):
    """What was found of ``B`` images.

    Attributes:
        singular: Singular values of D's Jacobian at the true latents, the largest first, ``(B, N)``.
        spread: Root mean square error of the encoder's latents, ``(B,)``.
        encoder_db: NMSE of the encoder's latents, ``(B,)``, dB; so are the three below.
        default_db: That of the default method.
        pixels_db: That of the maximum likelihood, as far as D is linear.
        prior_db: That of the posterior mean.
    """

    singular: Tensor
    spread: Tensor
    encoder_db: Tensor
    default_db: Tensor
    pixels_db: Tensor
    prior_db: Tensor

    @staticmethod
    def join(parts: Sequence["Spectrum"]) -> "Spectrum":
        """Put images together."""
        return Spectrum(*(torch.cat(part) for part in zip(*parts, strict=True)))


@dataclass(frozen=True)
class CodecRow:
    """The images of one codec in one row; see ``columns_of``."""

    codec: str
    condition: float
    shown: float
    encoder_db: float
    pixels_db: float
    prior_db: float
    default_db: float


def columns_of(iterations: int) -> tuple[Column, ...]:
    """Say how the rows are shown."""
    return (
        Column("codec", "codec", "the codec"),
        Column("condition", "condition", "median over the images of D's largest singular value over its smallest one", ".0f"),
        Column(
            "shown",
            "shown",
            "mean part of a latent's directions that the rounded image tells more of than the prior: of s^2 t^2 / (s^2 t^2 + "
            "r^2), with singular values s, spread of the prior t and deviation of the rounding r",
            ".1%",
        ),
        Column("encoder_db", "E, dB", "mean NMSE of the encoder's latents", ".1f"),
        Column("pixels_db", "pixels alone, dB", "mean NMSE of the maximum likelihood, as far as D is linear", ".1f"),
        Column(
            "prior_db",
            "with a prior, dB",
            "mean NMSE of the posterior mean under a white prior around the encoder's latent, as wide as its error there",
            ".1f",
        ),
        Column(
            "default_db", f"{DEFAULT} {iterations}, dB", f"mean NMSE of the default method after {iterations} iterations", ".1f"
        ),
    )


def codec_row(name: str, found: Spectrum) -> CodecRow:
    """Reduce the images of a codec to a row."""
    strength = (found.singular * found.spread[:, None] / ROUNDING).square()
    return CodecRow(
        name,
        median((found.singular[:, 0] / found.singular[:, -1]).tolist()),
        float((strength / (1 + strength)).mean()),
        *(float(part.mean()) for part in (found.encoder_db, found.pixels_db, found.prior_db, found.default_db)),
    )


def write_invertibility(found: Mapping[str, Spectrum], iterations: int, out: Path, conditions: str) -> None:
    """Write table.csv, table.md and spectrum.png, and print the table.

    Args:
        found: What was found, by the codec's name.
        iterations: Iterations of the default method.
        out: The directory to write into.
        conditions: A phrase on what was measured and where.
    """
    table = Table(columns_of(iterations), [asdict(codec_row(name, one)) for name, one in found.items()])
    table.write(out, f"# What 8-bit images show of their latents\n\n{conditions}.\n\n")
    _draw(found, out / "spectrum.png", conditions)
    table.print()


def _draw(found: Mapping[str, Spectrum], path: Path, conditions: str) -> None:
    """Draw the singular values of each codec, the median image and the range of all."""
    figure = Figure(figsize=(8.4, 5.4), layout="constrained")
    axes = figure.subplots()
    for (name, one), (colour, _) in zip(found.items(), looks(), strict=False):
        place = torch.arange(1, one.singular.shape[1] + 1) / one.singular.shape[1]
        low, middle, high = (one.singular.quantile(part, dim=0) for part in (0.0, 0.5, 1.0))
        axes.fill_between(place, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(place, middle, color=colour, linewidth=2, label=plain(name))
        level = median((ROUNDING / one.spread).tolist())
        axes.axhline(level, color=colour, linestyle=(0, (1, 2)), linewidth=1.4)
    axes.set_yscale("log")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("directions of the latent, the strongest first")
    axes.set_ylabel("singular value of D's Jacobian, log scale")
    open_up(axes)
    axes.legend(frameon=False)
    caption = "line: median image, area: all images; below the dotted line the rounded image tells less than the encoder does"
    head(figure, "What 8-bit images show of their latents", f"{conditions}\n{caption}")
    figure.savefig(path, dpi=160)
