"""Tables: rows come back as they were, and a torn end costs only itself."""

import pytest

from decinv.rows import Row
from decinv.runs.table import append_rows, format_row, read_rows, write_table
from decinv.status import Status

ROWS = (
    Row("a.png", Status.CONVERGED, 3, 4, 1.5e-6, float("inf"), 20.25, float("-inf"), 0.5, 7.0, 0, "latents/0.safetensors"),
    Row('new\nline, "quoted"\r', Status.UNREADABLE, number=1, reason="It is no image, sadly."),
    Row("猫.png", Status.MAX_ITERS, 50, 50, 0.25, number=2),
    Row("carriage\rreturn", Status.STALLED, number=3),
)


def test_rows_survive(tmp_path):
    path = tmp_path / "table.csv"
    append_rows(path, ROWS[:1])
    append_rows(path, [])
    append_rows(path, ROWS[1:])
    assert tuple(read_rows(path)) == ROWS
    assert path.read_text().count("name,status") == 1


def test_an_empty_table_has_its_header_and_a_missing_one_is_empty(tmp_path):
    append_rows(tmp_path / "empty.csv", [])
    assert (tmp_path / "empty.csv").read_text() == ",".join(Row._fields) + "\n"
    assert list(read_rows(tmp_path / "empty.csv")) == []
    (tmp_path / "nothing.csv").touch()
    assert list(read_rows(tmp_path / "nothing.csv")) == []


def test_a_table_cut_anywhere_keeps_the_rows_before(tmp_path):
    path = tmp_path / "table.csv"
    append_rows(path, ROWS)
    whole = path.read_bytes()
    ends = [len(whole) - sum(len(format_row(row).encode()) for row in ROWS[kept:]) for kept in range(5)]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        kept = sum(cut >= end for end in ends[1:])
        assert tuple(read_rows(path)) == ROWS[:kept], cut


def test_other_tables_and_damage_in_the_middle_are_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="its columns are 'a, b'; move it away"):
        list(read_rows(path))
    write_table(path, Row._fields, [format_row(ROWS[0]), "stray\n", format_row(ROWS[2])])
    with pytest.raises(ValueError, match=r"\['stray'\]; remove that row"):
        list(read_rows(path))


@pytest.mark.parametrize(
    ("before", "after", "message"), [("CONVERGED", "CONVERGD", "a status"), (",1.5e-06,", ",much,", "a number")]
)
def test_cells_that_are_no_values_are_named(tmp_path, before, after, message):
    path = tmp_path / "table.csv"
    append_rows(path, ROWS[:1])
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(ValueError, match=f"Expected {message} in the column"):
        list(read_rows(path))
