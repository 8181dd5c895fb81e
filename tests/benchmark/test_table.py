import csv
import math
from dataclasses import replace

from decinv.benchmark.report.markdown import to_html
from decinv.benchmark.table import Column, Table

COLUMNS = (
    Column("k", "iterations", "how many"),
    Column("name", "method", "which"),
    Column("error", "error dB", "how wrong", ".1f", "lowest"),
    Column("psnr", "PSNR", "how right", ".2f", "highest"),
    Column("seconds", "s", "how long", ".3g"),
    Column("ratio", "ratio", "compared", ".2f", "lowest"),
)
ROWS = [
    {"k": 1, "name": "long name", "error": -1 / 3, "psnr": 20.0, "seconds": 0.123456789, "ratio": 1.0},
    {"k": 1, "name": "b", "error": -0.34, "psnr": 20.001, "seconds": 1e-9, "ratio": None},
    {"k": 2, "name": "long name", "error": math.nan, "psnr": 7.0, "seconds": 1.0, "ratio": 2.0},
    {"k": 2, "name": "b", "error": -3.0, "psnr": 8.0, "seconds": 2.0, "ratio": 0.5},
]


def _cells(markdown):
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return lines, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_csv_is_exact(tmp_path):
    Table(COLUMNS, ROWS).write_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["error"]) for row in rows[:2]] == [-1 / 3, -0.34]
    assert float(rows[0]["seconds"]) == 0.123456789
    assert math.isnan(float(rows[2]["error"]))
    assert rows[1]["ratio"] == ""


def test_markdown_is_aligned_and_marks_the_best_of_each_group():
    text = Table(COLUMNS, ROWS).markdown()
    lines, cells = _cells(text)
    assert len({len(line) for line in lines}) == 1
    assert cells[0] == ["iterations", "method", "error dB", "PSNR", "s", "ratio"]
    assert [set(cell) for cell in cells[1]] == [{"-", ":"}, {"-"}, {"-", ":"}, {"-", ":"}, {"-", ":"}, {"-", ":"}]
    # What looks alike is not marked, nor what is no number, nor what cannot be compared.
    assert cells[2] == ["1", "long name", "-0.3", "20.00", "0.123", "**1.00**"]
    assert cells[3] == ["1", "b", "-0.3", "20.00", "1e-09", ""]
    assert cells[4] == ["2", "long name", "nan", "7.00", "1", "2.00"]
    assert cells[5] == ["2", "b", "**-3.0**", "**8.00**", "2", "**0.50**"]
    assert "- **PSNR**: how right." in text


def test_the_rule_of_a_narrow_column_has_a_dash():
    columns = (Column("k", "K", "how many"), Column("name", "n", "which"))
    lines, cells = _cells(Table(columns, [{"k": 5, "name": "a"}]).markdown())
    assert cells == [["K", "n"], ["-:", "--"], ["5", "a"]]
    assert len({len(line) for line in lines}) == 1


def test_terminal_shows_the_same_cells(capsys):
    table = Table(COLUMNS, ROWS)
    table.print()
    words = capsys.readouterr().out
    for row in _cells(table.markdown())[1][2:]:
        assert all(cell.strip("*") in words for cell in row)


def test_names_are_shown_as_they_are(capsys):
    columns = (Column("name", "codec", "which"), Column("error", "error", "how wrong", ".1f", "lowest"))
    names = ["a[/b]", "c|d", "[red]e"]
    table = Table(columns, [{"name": name, "error": i} for i, name in enumerate(names)])
    table.print()
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    shown = to_html(table.markdown())
    assert all(f"<td>{name}</td>" in shown for name in names)


def test_terminal_leaves_out_details(capsys):
    detail = replace(COLUMNS[3], detail=True)
    table = Table([*COLUMNS[:3], detail, *COLUMNS[4:]], ROWS)
    table.print()
    words = capsys.readouterr().out
    assert "PSNR" not in words
    assert "20.00" not in words
    assert all(word in words for word in ("error dB", "ratio", "long name", "0.123"))
    assert "20.00" in table.markdown()


def test_several_columns_can_tell_the_groups_and_what_is_missing_has_a_word():
    columns = (*COLUMNS[:2], Column("seconds", "s", "how long", "g", "lowest", missing="never"))
    rows = [{"k": k, "name": name, "seconds": s} for k, name, s in ((1, "a", 2), (1, "a", None), (1, "b", 3), (1, "b", 4))]
    table = Table(columns, rows, leading=2)
    assert [len(group) for group in table.groups] == [2, 2]
    assert [cells[2] for cells in _cells(table.markdown())[1][2:]] == ["**2**", "never", "**3**", "4"]
