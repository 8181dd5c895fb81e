"""The report of the cocoercivity benchmark: its table, its values image by image, and its figure."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.benchmark.cocoercivity.ratios import Ratios
from decinv.benchmark.figures.scatter import Panel, draw_scatters
from decinv.benchmark.table import Column, Table, Value

LAST = "as published"
CONVERGED = "converged"
TRUTH = "true latent"


class Key(NamedTuple):
    """What a set of ratios belongs to.

    Attributes:
        reference: What was taken for z_inf.
        codec: The codec's name.
        method: The method's name.
        window: Number K of the last iterate that was looked at.
        bound: What the method's theorem asks of c_k; ``None`` where there is none.
    """

    reference: str
    codec: str
    method: str
    window: int
    bound: float | None


COLUMNS = (
    Column(
        "reference",
        "z_inf",
        f"point that c_k is taken against: `{LAST}`, the method's own last iterate, which is no fixed point; `{CONVERGED}`, "
        f"the point of smallest residual that the default method and then Anderson acceleration on T alone met; `{TRUTH}`",
    ),
    Column("codec", "codec", "its name"),
    Column("method", "method", "name and settings"),
    Column("window", "K", "c_k is taken at k = 0 to K"),
    Column("images", "images", "images with a value: one point at least is above the floor, and z_inf was reached"),
    Column("points", "points", "mean number of points that c_k was taken at; the others are below the floor", ".1f"),
    Column("median", "c median", "median over the images of the smallest c_k", ".4g"),
    Column("lower_quartile", "c 25 %", "lower quartile of it", ".4g"),
    Column("upper_quartile", "c 75 %", "upper quartile", ".4g"),
    Column("worst", "c worst", "lowest", ".4g"),
    Column(
        "bound", "bound", "what Theorem 1 or 2 asks c_k to exceed: rho / 2 for the forward step; empty without theorem", ".4g"
    ),
    Column("share", "above bound", "share of those images whose smallest c_k does", ".3f"),
    Column("positive", "above 0", "share whose smallest c_k is above 0", ".3f"),
    Column("pearson", "Pearson", "correlation of the smallest c_k with |z_K - z_inf|", "+.2f"),
    Column("spearman", "Spearman", "the same of the ranks", "+.2f"),
    Column("distance", "distance", "median of |z_K - z_inf|, scaled latents", ".3g"),
    Column("nmse_db", "NMSE dB", "mean NMSE of z_K against the true latent", ".2f"),
    Column("residual", "T(z_inf)", "median of |T(z_inf)| / |E(x)|: how far z_inf is from a fixed point", ".1e"),
    Column("residual_worst", "T worst", "largest of it", ".1e"),
)
"""How the rows are shown."""

IMAGES = (
    *COLUMNS[:3],
    Column("image", "image", "its number"),
    Column("smallest", "c", "the smallest c_k; empty where there is none"),
    Column("points", "points", "points that c_k was taken at"),
    Column("distance", "distance", "|z_K - z_inf|"),
    Column("nmse_db", "NMSE dB", "NMSE of z_K"),
    Column("residual", "T(z_inf)", "|T(z_inf)| / |E(x)|"),
)
"""What images.csv holds."""


def write_report(found: Mapping[Key, Ratios], out: Path, conditions: str) -> None:
    """Write table.csv, table.md, images.csv and cocoercivity.png, and print the table.

    Args:
        found: What was measured, by codec, then reference, then method.
        out: The directory to write into.
        conditions: A phrase on what was measured and where, for table.md and the figure.
    """
    table = Table(COLUMNS, [summarise(key, part) for key, part in found.items()])
    table.write(out, f"# Cocoercivity along the path\n\n{conditions}.\n\n")
    Table(IMAGES, [row for key, part in found.items() for row in _each(key, part)]).write_csv(out / "images.csv")
    rows = list(dict.fromkeys((key.codec, key.reference) for key in found))
    draw_scatters(
        [[_panel(key, part) for key, part in found.items() if (key.codec, key.reference) == row] for row in rows],
        columns=list(dict.fromkeys(f"{key.method}, K = {key.window}" for key in found)),
        rows=[f"z_inf: {reference}\ncodec: {codec}" for codec, reference in rows],
        x="smallest c_k, k = 0 ... K",
        y="|z_K - z_inf|",
        colour="NMSE of z_K, dB",
        title="Cocoercivity along the path, and how far from z_inf the path ends",
        caption=conditions + "\nred: least squares; dashed: what the method's theorem asks c_k to exceed",
        path=out / "cocoercivity.png",
    )
    table.print()


def summarise(key: Key, part: Ratios) -> dict[str, Value]:
    """Reduce the values of all images to one row."""
    seen = part.smallest.isfinite() & part.distance.isfinite()
    smallest, distance = part.smallest[seen].double(), part.distance[seen].double()
    residual = part.reference_residual[part.reference_residual.isfinite()]
    some = len(smallest) > 0
    quartiles = smallest.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist() if some else [None] * 3
    return {
        **key._asdict(),
        "images": len(smallest),
        "points": float(part.used[seen].double().mean()) if some else 0.0,
        "median": quartiles[1],
        "lower_quartile": quartiles[0],
        "upper_quartile": quartiles[2],
        "worst": float(smallest.min()) if some else None,
        "share": float((smallest > key.bound).double().mean()) if some and key.bound is not None else None,
        "positive": float((smallest > 0).double().mean()) if some else None,
        "pearson": correlation(smallest, distance),
        "spearman": correlation(ranks(smallest), ranks(distance)),
        "distance": median(distance.tolist()) if some else None,
        "nmse_db": float(part.nmse_db.mean()),
        "residual": median(residual.tolist()) if len(residual) else None,
        "residual_worst": float(residual.max()) if len(residual) else None,
    }


def correlation(one: Tensor, other: Tensor) -> float | None:
    """Give Pearson's correlation of two sets of values ``(N,)``; ``None`` below three, or where one is constant."""
    if len(one) < 3 or not one.std() > 0 or not other.std() > 0:
        return None
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


def ranks(values: Tensor) -> Tensor:
    """Give the rank of each of ``(N,)`` values, from 0; equal ones share their mean rank."""
    less, equal = values[:, None] > values, values[:, None] == values
    return less.sum(1) + (equal.sum(1) - 1) / 2


def _each(key: Key, part: Ratios) -> list[dict[str, Value]]:
    """Give one row an image."""
    columns = zip(*(values.tolist() for values in part), strict=True)
    return [
        {
            **{name: getattr(key, name) for name in ("reference", "codec", "method")},
            "image": number,
            "smallest": None if smallest != smallest else smallest,
            "points": used,
            "distance": distance,
            "nmse_db": nmse,
            "residual": residual,
        }
        for number, (smallest, used, distance, nmse, residual) in enumerate(columns)
    ]


def _panel(key: Key, part: Ratios) -> Panel:
    seen = part.smallest.isfinite() & part.distance.isfinite()
    smallest, distance, nmse = (values[seen].tolist() for values in (part.smallest, part.distance, part.nmse_db))
    return Panel(smallest, distance, nmse, mark=key.bound)
