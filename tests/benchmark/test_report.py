import base64
import csv
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import decinv.benchmark
from decinv.benchmark.__main__ import main
from decinv.benchmark.report.directory import THUMBNAIL, describe
from decinv.benchmark.report.html import STYLE, Picture, number, sheet, table
from decinv.benchmark.report.markdown import to_html

RESULTS = Path(decinv.benchmark.__file__).parent / "results"


class Page(HTMLParser):
    """Collects what a page loads, and checks that its tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.text = [], [], []
        self.feed(text)
        assert [tag for tag in self.tags if tag != "html"] == []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "img"):
            self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.tags.pop() == tag

    def handle_data(self, data):
        if self.tags[-1:] not in (["style"], ["script"]):
            self.text.append(data)


def picture(path, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).save(path)


@pytest.fixture
def run(tmp_path):
    """The directory of a run, with a name that is markup, and files that are broken."""
    path = tmp_path / "a <b>run</b>"
    for index in range(5):
        picture(path / "reconstructions" / f"<img src=x>{index}.png")
    picture(path / "convergence.png")
    (path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (path / "reconstructions" / "broken.png").write_bytes(b"nothing")
    (path / "config.yaml").write_text("key: <script>alert(1)</script>\n")
    with (path / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "status", "psnr_db", "nmse_db", "number", "reason"])
        writer.writerow(["<i>first</i>", "CONVERGED", "40", "-20", "0", ""])
        writer.writerow(["second", "CONVERGED", "inf", "-30", "1", ""])
        writer.writerow(["third", "UNREADABLE", "", "", "2", "no image, | really"])
    return path


def report(out, *words):
    assert main(["report", *map(str, words), "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    return text, Page(text)


def test_one_page_of_the_committed_results_needs_nothing_else(tmp_path, capsys):
    text, page = report(tmp_path / "page.html", RESULTS)
    assert f"{sum(path.is_dir() for path in RESULTS.iterdir())} sections" in capsys.readouterr().out
    assert all(load.startswith(("data:image/png;base64,", "#part-")) for load in page.loads)
    assert sum(load.startswith("data:") for load in page.loads) == len(list(RESULTS.rglob("*.png")))
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import|<script|<link|<iframe", text)
    words = "".join(page.text)
    assert words.count("what the columns mean") >= 4
    assert "Time at the same NMSE" in words
    for name in ("cocoercivity", "decoder", "rules", "thresholds"):
        with (RESULTS / name / "table.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        section = text[text.index(f"<h2>{name}") :].split("</section>")[0]
        assert section.count("<tr>") >= len(rows)
        assert f"data:image/png;base64,{_start(next((RESULTS / name).glob('*.png')))}" in section


def _start(path):
    return base64.b64encode(path.read_bytes()).decode()[:200]


def test_a_run_is_summarised_and_its_names_are_text(tmp_path, run):
    text, page = report(tmp_path / "page.html", run, "--pictures=3")
    words = " ".join(" ".join(page.text).split())
    assert "3 samples" in words
    assert "2 CONVERGED" in words
    assert "1 UNREADABLE" in words
    assert "nmse_db -25 9.8 -30 -20 2" in words
    assert "psnr_db 40 nan 40 inf 2" in words
    assert "reconstructions 3 of 6" in words
    assert "broken.png cannot be read" in words
    assert "<i>first</i>" in words
    assert "<script>alert(1)</script>" in words
    assert "no image, | really" in words
    assert not re.search(r"<script|<i>|<img src=x", text)
    assert len([load for load in page.loads if load.startswith("data:")]) == 4


def test_cells_of_csv_files_are_no_markdown(tmp_path):
    (tmp_path / "results.csv").write_text("name,status\na**b**c `d`,CONVERGED\n")
    shown = "".join(describe(tmp_path, 10, 1).parts)
    assert "<td>a**b**c `d`</td>" in shown


def test_long_tables_are_cut_and_counted(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "table.csv").write_text("a,b\n" + "".join(f"{i},{i / 3}\n" for i in range(50)))
    _, page = report(tmp_path / "page.html", tmp_path / "run", "--rows=7")
    words = " ".join(" ".join(page.text).split())
    assert "43 more rows are not shown" in words
    assert "6 2" in words
    assert "7 2.333" not in words


def test_broken_tables_are_named_and_cost_nothing_else(tmp_path, run):
    (run / "environment.json").write_text("{")
    (run / "table.md").write_bytes(b"\xff")
    _, page = report(tmp_path / "page.html", run)
    words = "".join(page.text)
    assert "environment.json cannot be read" in words
    assert "table.md cannot be read" in words
    assert "nmse_db" in words


def test_nothing_is_overwritten_and_other_directories_are_refused(tmp_path, run, capsys):
    out = tmp_path / "page.html"
    out.write_text("kept")
    assert main(["report", str(run), "--out", str(out)]) == 2
    assert "page.html exists" in capsys.readouterr().err
    assert out.read_text() == "kept"
    assert main(["report", str(tmp_path / "nowhere"), "--out", str(tmp_path / "new.html")]) == 2
    assert "no table.csv or results.csv" in capsys.readouterr().err
    assert main(["report", str(run), "--out", str(tmp_path / "new.html"), "--rows=0"]) == 2
    assert "`rows`" in capsys.readouterr().err
    assert not (tmp_path / "new.html").exists()


def test_a_run_that_is_not_merged_is_told_how_and_a_page_that_cannot_be_written_why(tmp_path, run, capsys):
    (tmp_path / "interrupted" / "tables").mkdir(parents=True)
    assert main(["report", str(tmp_path / "interrupted"), "--out", str(tmp_path / "report.html")]) == 2
    assert f"`python -m decinv.runs {tmp_path / 'interrupted'}`" in capsys.readouterr().err
    long = tmp_path / ("x" * 250 + ".html")
    assert main(["report", str(run), "--out", str(long)]) == 2
    assert "Expected to write the page to" in capsys.readouterr().err


def test_names_that_are_not_utf_8_and_an_environment_that_is_none_cost_nothing(tmp_path):
    directory = tmp_path / "runs" / os.fsdecode(b"run\xff")
    directory.mkdir(parents=True)
    (directory / "table.csv").write_text("method,value\nours,7\n")
    (directory / "environment.json").write_text("[1]")
    text = " ".join(report(tmp_path / "report.html", tmp_path / "runs")[1].text)
    assert all(part in text for part in ("run?", "ours", "environment.json cannot be read: it holds no options"))


def test_help_names_its_options(capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", "--help"])
    assert end.value.code == 0
    words = capsys.readouterr().out
    assert all(word in words for word in ("RUN_DIR", "--out", "--rows", "--pictures"))


def test_names_that_are_numbers_have_no_mean(tmp_path):
    (tmp_path / "results.csv").write_text("name,status,psnr_db\n17,CONVERGED,30.5\n18,CONVERGED,31.5\n")
    main(["report", str(tmp_path), "--out", str(tmp_path / "report.html")])
    assert "17.5" not in (tmp_path / "report.html").read_text()


def test_sheets_of_edits_stand_for_the_edits_and_masks_that_they_show(tmp_path):
    for name in ("a.0", "a.0.mask", "b.0", "b.0.mask"):
        picture(tmp_path / "edits" / f"{name}.png")
    for name in ("a", "b"):
        picture(tmp_path / "edits" / f"{name}.sheet.png", (800, 1200))
    (tmp_path / "results.csv").write_text("name,status\na,CONVERGED\nb,CONVERGED\n")
    main(["report", str(tmp_path), "--out", str(tmp_path / "report.html")])
    page = Page((tmp_path / "report.html").read_text())
    pictures = [Image.open(io.BytesIO(base64.b64decode(load.split(",")[1]))) for load in page.loads if load.startswith("data:")]
    assert [one.size for one in pictures] == [(640, 960)] * 2


def test_an_image_that_is_named_like_a_sheet_of_edits_hides_no_others(tmp_path):
    for name in ("a", "b", "sprite.sheet"):
        picture(tmp_path / "reconstructions" / f"{name}.png")
    (tmp_path / "results.csv").write_text("name,status\n")
    _, page = report(tmp_path / "report.html", tmp_path)
    assert [part for part in page.text if part in ("a", "b", "sprite.sheet")] == ["a", "b", "sprite.sheet"]


def test_markdown_becomes_html():
    text = (
        "# Title\n\nTwo lines\nof `code` & **more**.\n\n| a | b |\n| --- | --: |\n| x | **1.5** |\n\n- **a**: what.\n\n- free\n"
    )
    page = to_html(text)
    assert page.startswith("<h3>Title</h3><p>Two lines of <code>code</code> &amp; <b>more</b>.</p>")
    assert "<th>a</th><th class=n>b</th>" in page
    assert "<td>x</td><td class=n><b>1.5</b></td>" in page
    assert "<details><summary>what the columns mean</summary><ul><li><b>a</b>: what.</li></ul></details>" in page
    assert page.endswith("<ul><li>free</li></ul>")


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("0.123456", "0.1235"),
        ("1e-9", "1e-09"),
        ("12", "12"),
        ("1234567", "1234567"),
        ("nan", "nan"),
        ("", ""),
        ("-1.25e+20", "-1.25e+20"),
    ],
)
def test_numbers_for_readers(cell, shown):
    assert number(cell) == shown


@pytest.mark.parametrize("cell", ["x1", "12345678901234e5", "1_000"])
def test_names_and_fingerprints_of_keys_are_no_numbers(cell):
    assert number(cell) == cell


def test_rows_of_other_lengths_do_not_break_a_table():
    shown = table(["a"], [["1", "too much"], []], 2)
    assert shown.count("<td") == 1


def test_long_text_is_broken_into_lines_and_numbers_stay_in_sight():
    """A prompt of thousands of letters on one line put the numbers behind it hundreds of screens away."""
    shown = table(["prompt", "psnr"], [["a red circle " * 300, "1.5"], ["short", "2.5"]], 2)
    assert "<td class=long>a red circle" in shown
    assert "<td class=n>1.5</td>" in shown
    assert "<td>short</td><td class=n>2.5</td>" in shown


@pytest.mark.parametrize("cells", [["32bca1659dca6adf", "40aa1b47f4056eb2", "cad01392f25f3027"], ["0001.png", "0002.png"]])
def test_keys_and_names_that_begin_with_a_digit_are_set_like_other_text(cells):
    assert "<th>key</th>" in table(["key"], [[cell] for cell in cells], len(cells))


@pytest.mark.parametrize("cell", ["3", "-4.25", "1e-05", "**-0.5**", "inf", "50%", "-49.9 dB", "2.5 ± 0.1", "+3.1"])
def test_numbers_are_flush_right(cell):
    assert "<th class=n>value</th>" in table(["value"], [[cell]], 1)


@pytest.mark.parametrize(("wide", "kinds"), [(1, "sheet"), (2, "sheet wide")])
def test_one_wide_picture_among_others_does_not_enlarge_them_all(wide, kinds):
    """One image of 64 x 48 pixels among six of 64 x 64 made the page 400 pixels of each."""
    pictures = [Picture("data:", "one", 64, 48 if index < wide else 64) for index in range(3)]
    assert f'<div class="{kinds}">' in sheet("reconstructions", pictures, 3)


def test_high_pictures_of_a_sheet_are_no_higher_than_their_thumbnails():
    rule = re.search(r"\.sheet img \{[^}]*max-height: (\d+)rem", STYLE.read_text())
    assert rule is not None
    assert int(rule[1]) * 16 == THUMBNAIL


def test_a_run_without_results_has_no_table_of_averages(tmp_path):
    (tmp_path / "results.csv").write_text("name,status,psnr_db\nfirst,UNREADABLE,\n")
    shown = "".join(describe(tmp_path, 10, 1).parts)
    assert "<b>1</b> UNREADABLE" in shown
    assert "mean" not in shown


@pytest.mark.parametrize(("inputs", "left"), [(3, None), (5, "2 of 5 inputs have no row")])
def test_a_run_that_was_broken_off_says_how_much_is_left(run, inputs, left):
    """Its results looked like those of a whole run."""
    (run / "inputs.jsonl").write_text("".join(f'["{index}"]\n' for index in range(inputs)))
    shown = "".join(describe(run, 10, 1).parts)
    assert ("This run is not finished" in shown) == (left is not None)
    assert left is None or left in shown
