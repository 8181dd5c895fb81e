import dataclasses

import pytest

from decinv.benchmark.decoder.compare import Row, against_float32
from decinv.benchmark.decoder.matched import match
from decinv.benchmark.measuring.methods import DEFAULT


def row(method, iterations, nmse_db, seconds, dtype="float32"):
    values = {field.name: 0.0 for field in dataclasses.fields(Row)}
    return Row(
        **values
        | {
            "codec": "c",
            "method": method,
            "iterations": iterations,
            "nmse_db": nmse_db,
            "seconds": seconds,
            "dtype": dtype,
            "nmse_db_to_float32": None,
        }
    )


ROWS = [
    row("encoder", 0, -15.0, 0.01),
    row(DEFAULT, 1, -15.0, 0.1),
    row(DEFAULT, 3, -22.0, 0.3),
    row("loop", 100, -21.8, 30.0),
    row("late", 100, -40.0, 12.0),
    row(DEFAULT, 100, -39.0, 10.0),
    row("loop", 200, -23.0, 60.0),
    row("rare", 200, -39.5, 24.0),
    row(DEFAULT, 200, -39.5, 20.0),
    row(DEFAULT, 3, -21.0, 0.2, "float16"),
    row("loop", 100, -21.0, 20.0, "float16"),
]


def test_the_ratio_is_of_seconds_at_the_same_error():
    found = {(m.method, m.dtype): m for m in match(ROWS)}
    assert set(found) == {("loop", "float32"), ("late", "float32"), ("rare", "float32"), ("loop", "float16")}
    loop = found["loop", "float32"]
    assert (loop.iterations, loop.default_iterations, loop.default_nmse_db) == (100, 3, -22.0)
    assert loop.ratio == pytest.approx(100)
    late = found["late", "float32"]
    assert late.ratio is late.default_seconds is late.default_iterations is None
    assert (found["rare", "float32"].iterations, found["rare", "float32"].default_iterations) == (200, 200)
    assert found["loop", "float16"].ratio == pytest.approx(100)  # as accurate is enough


def test_differences_to_float32():
    rows = against_float32(ROWS)
    assert [r.nmse_db_to_float32 for r in rows[:-2]] == [0.0] * 9
    assert rows[-2].nmse_db_to_float32 == pytest.approx(1.0)
    assert rows[-1].nmse_db_to_float32 == pytest.approx(0.8)
    assert against_float32(rows[-1:])[0].nmse_db_to_float32 is None
