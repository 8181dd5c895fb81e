import csv
import inspect
import json

import pytest
import torch
from PIL import Image

from decinv.benchmark.__main__ import main
from decinv.benchmark.measuring.methods import DEFAULT, PAPER
from decinv.benchmark.measuring.trajectory import Trajectory
from decinv.benchmark.thresholds.command import COMPARED, thresholds
from decinv.benchmark.thresholds.report import headlines, panels, threshold_rows


def _found():
    """The paper's Adam gains 0.1 dB an evaluation and starts at -10 dB, the default 2.5 dB; the others stay there."""
    found = {}
    for method in COMPARED:
        slope = {PAPER: 0.1, DEFAULT: 2.5}.get(method.name, 0.0)
        runs = []
        for run in method.runs((50, 100)):
            errors = -10 - slope * torch.arange(run[-1] + 1.0, dtype=torch.float64)
            seconds = 6 * torch.arange(run[-1] + 1.0, dtype=torch.float64)
            runs.append(Trajectory(errors[:, None] + torch.tensor([-1.0, 0.0, 1.0]), seconds, {}))
        found[method] = runs
    return {"codec": found}


def test_rows():
    rows = threshold_rows(_found(), (-5.0, -12.51, -26.0))
    assert len(rows) == 4 * len(COMPARED)
    own = {(row.level, row.method): row for row in rows}
    assert all(row.evaluations == 0 and row.ratio is None for row in rows if row.level == "-5 dB")
    paper, default = (own["-12.51 dB", name] for name in (PAPER, DEFAULT))
    assert (paper.evaluations, paper.ratio, paper.seconds, paper.median_evaluations) == (26, 1, 52, 26)
    assert (default.evaluations, default.ratio, default.seconds) == (2, 13, 4)
    assert own["-12.51 dB", "encoder"].evaluations is None
    # The paper's Adam ends at -20 dB, so there is nothing to compare with below.
    paper, default = (own["-26 dB", name] for name in (PAPER, DEFAULT))
    assert (paper.evaluations, paper.median_evaluations, paper.reached) == (None, None, 0)
    assert (default.evaluations, default.ratio) == (7, None)
    paper, default = (own[f"{PAPER} at 100", name] for name in (PAPER, DEFAULT))
    assert (paper.level_db, paper.evaluations) == (pytest.approx(-20), 100)
    assert (default.evaluations, default.ratio, default.median_evaluations, default.reached) == (4, 25, 4, 1)


def test_the_headline_says_what_the_row_of_the_papers_end_does():
    found = _found()
    (sentence,) = headlines(found, threshold_rows(found, (-12.0,)))
    assert sentence == (
        "codec: `Anderson` equals or beats `paper Adam 0.01` at 100 evaluations (-20.00 dB) after 4: 25.0 times fewer; "
        "on the median image after 4."
    )


def test_the_figure_shows_what_is_reached():
    found = _found()
    (panel,) = panels(found, threshold_rows(found, (-5.0, -12.5, -26.0)))
    curves = {curve.family: curve for curve in panel.curves}
    assert list(curves) == [method.name for method in COMPARED[1:]]
    assert panel.level == (pytest.approx(-10), "encoder")
    default = curves[DEFAULT]
    assert default.cost == [1, 4, 7]
    assert default.quality == pytest.approx([-12.5, -20, -26])
    assert default.notes == ["25x", "25x", ""]
    assert curves["forward step 1"].cost == []


@pytest.fixture(scope="module")
def run(tmp_path_factory, saved):
    out = tmp_path_factory.mktemp("thresholds") / "out"
    args = ["thresholds", f"--out={out}", f"--codecs=[{saved('kl')},{saved('tiny')}]", "--device=cpu", "--threads=1"]
    assert main([*args, "--count=3", "--size=16", "--batch_size=2", "--levels=[100,-200]", "--marks=[2,3]"]) == 0
    return out


def test_a_run_on_two_codecs(run):
    with (run / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [method.name for method in COMPARED]
    levels = ("100 dB", "-200 dB", "paper Adam 0.01 at 3")
    expected = [(codec, level, name) for codec in ("kl", "tiny") for level in levels for name in names]
    assert [(row["codec"], row["level"], row["method"]) for row in rows] == expected
    for row in rows:
        if row["level"] == "100 dB":
            assert (row["evaluations"], row["reached"]) == ("0", "1.0")
        if row["level"] == "-200 dB":
            assert (row["evaluations"], row["seconds"], row["reached"]) == ("", "", "0.0")
        if (row["level"], row["method"]) == (levels[2], PAPER):
            assert int(row["evaluations"]) <= 3
    text = (run / "table.md").read_text()
    assert "never" in text
    assert text.count("equals or beats") == 2
    options = json.loads((run / "environment.json").read_text())["options"]
    assert set(options) == set(inspect.signature(thresholds).parameters)
    with Image.open(run / "thresholds.png") as image:
        assert min(image.size) > 500


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--levels=[-20,-18]", "`levels` to be decreasing"),
        ("--levels=[]", "`levels`"),
        ("--marks=[0,1]", "`marks` to be increasing"),
        ("--threads=0", "`threads`"),
    ],
)
def test_bad_options_are_named(tmp_path, capsys, option, message):
    assert main(["thresholds", f"--out={tmp_path / 'out'}", option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
