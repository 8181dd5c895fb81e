"""How long each method takes, over how long the default takes to be as accurate: time at the same NMSE."""

from collections.abc import Sequence
from dataclasses import dataclass

from decinv.benchmark.decoder.compare import Row
from decinv.benchmark.measuring.methods import DEFAULT
from decinv.benchmark.table import Column

AT = 100
"""Iterations of the other methods, as in the paper; where they have no such row, the last one before, or else the first."""

COLUMNS = (
    Column("codec", "codec", "its name"),
    Column("dtype", "dtype", "number format of the codec's arithmetic"),
    Column("method", "method", "what is compared with the default"),
    Column("iterations", "iterations", "how many it was given"),
    Column("nmse_db", "NMSE dB", "its mean NMSE then", ".2f"),
    Column("seconds", "s/image", "its seconds for each image", ".3g"),
    Column(
        "default_iterations", "default's", f"fewest iterations measured after which `{DEFAULT}` is as accurate; empty: none"
    ),
    Column("default_nmse_db", "its NMSE dB", f"mean NMSE of `{DEFAULT}` then", ".2f"),
    Column("default_seconds", "its s/image", f"seconds of `{DEFAULT}` for each image", ".3g"),
    Column("ratio", "time ratio", f"seconds of the method over those of `{DEFAULT}`", ".1f"),
)
"""How the matches are shown."""


@dataclass(frozen=True)
class Match:
    """A method, and the first row of the default that is as accurate; the columns say what the attributes are."""

    codec: str
    dtype: str
    method: str
    iterations: int
    nmse_db: float
    seconds: float
    default_iterations: int | None
    default_nmse_db: float | None
    default_seconds: float | None
    ratio: float | None


def match(rows: Sequence[Row]) -> list[Match]:
    """Match every method but encoder and default, on each codec and in each number format, with the default there.

    Args:
        rows: What was measured, by number of iterations.
    """
    found = []
    for codec, dtype in dict.fromkeys((row.codec, row.dtype) for row in rows):
        here = [row for row in rows if (row.codec, row.dtype) == (codec, dtype)]
        last: dict[str, Row] = {}
        for row in here:
            if 0 < row.iterations <= AT or row.method not in last:
                last[row.method] = row
        for row in last.values():
            if row.method != DEFAULT and row.iterations:
                equal = [other for other in here if other.method == DEFAULT and other.nmse_db <= row.nmse_db]
                found.append(_match(row, equal[0] if equal else None))
    return found


def _match(row: Row, equal: Row | None) -> Match:
    """Put a method's row beside the default's."""
    return Match(
        codec=row.codec,
        dtype=row.dtype,
        method=row.method,
        iterations=row.iterations,
        nmse_db=row.nmse_db,
        seconds=row.seconds,
        default_iterations=equal.iterations if equal else None,
        default_nmse_db=equal.nmse_db if equal else None,
        default_seconds=equal.seconds if equal else None,
        ratio=row.seconds / equal.seconds if equal else None,
    )
