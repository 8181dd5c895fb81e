import csv
import inspect
import json
import statistics
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from decinv.benchmark.__main__ import main
from decinv.benchmark.measuring.trajectory import Trajectory
from decinv.benchmark.rules.command import rules
from decinv.benchmark.rules.families import DEFAULT_RULE, ENCODER, RULES
from decinv.benchmark.rules.report import overview, panels, rule_rows
from decinv.codecs import load_codec
from decinv.data.generated import generate
from decinv.metrics import nmse_db
from decinv.updates import Anderson, InertialKM

CONFIGS = Path(__file__).parents[2] / "configs" / "update"
BY_NAME = {rule.method.name: rule for rule in RULES}


def _made(rule):
    return rule.update([nn.Parameter(torch.zeros(1, 1))])


def test_every_rule_is_listed_once():
    assert len(BY_NAME) == len(RULES) == 15
    families = [rule.family for rule in RULES]
    assert [families.count(name) for name in ("encoder", "forward step", "inertial KM", "Adam", "Anderson")] == [1, 5, 4, 3, 2]
    rates = {name: _made(rule).param_groups[0]["lr"] for name, rule in BY_NAME.items() if rule.family == "forward step"}
    assert list(rates.values()) == [0.001, 0.01, 0.1, 0.5, 1.0]
    assert all(f"rho {rate:g}" in name for name, rate in rates.items())


def test_settings_beyond_the_theorem_are_made_without_a_warning():
    settings = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rule in RULES:
            if rule.family == "inertial KM":
                made = _made(rule)
                assert isinstance(made, InertialKM)
                settings.append((made.defaults["momentum"], made.defaults["lr"]))
    assert settings == [(0.9, 0.001), (0.9, 0.01), (0.9, 0.1), (0.5, 1.0)]


def test_anderson_is_that_of_the_fragments():
    fragment = yaml.safe_load((CONFIGS / "anderson_latent.yaml").read_text())
    latent = BY_NAME["Anderson latent residual alone"].update
    assert (latent.func, latent.keywords) == (Anderson, fragment["init_args"])
    assert DEFAULT_RULE.update is Anderson


def test_adam_has_the_published_schedule():
    made = _made(BY_NAME["Adam lr 0.01 (paper)"])
    made.reset(100)
    schedule = made.scheduler
    assert (made.base_rates, schedule.warmup, schedule.hold_from, schedule.longest) == ([0.01], 0.1, 0.8, 100)
    assert [_made(BY_NAME[f"Adam lr {rate:g}"]).base_rates for rate in (0.001, 0.1)] == [[0.001], [0.1]]


def _found():
    """Two codecs; the errors of three images fall by 1 dB an evaluation, on the second codec by 2."""
    found = {}
    for slope, codec in ((1, "first"), (2, "second")):
        found[codec] = {}
        for offset, rule in enumerate(RULES):
            runs = []
            for run in rule.method.runs((2, 4)):
                errors = -10.0 - offset - slope * torch.arange(run[-1] + 1.0)
                spread = torch.tensor([-3.0, 0.0, 3.0])
                psnr = {mark: torch.tensor([30.0, 40.0, 50.0]) + mark for mark in run}
                runs.append(Trajectory(errors[:, None] + spread, torch.zeros(run[-1] + 1), psnr))
            found[codec][rule] = runs
    return found


def test_rows_and_overview():
    rows = rule_rows(_found())
    own = [row for row in rows if row.codec == "first"]
    assert [row.evaluations for row in own] == [0, *[2] * 14, *[4] * 14]
    assert [row.setting for row in own[1:15]] == [rule.setting for rule in RULES[1:]]
    last = rows[-1]
    assert (last.codec, last.rule, last.evaluations) == ("second", "Anderson", 4)
    assert (last.nmse_db, last.nmse_db_worst, last.psnr_db) == pytest.approx((-32, -29, 44))
    assert last.nmse_db_half_width == pytest.approx(1.96 * statistics.stdev([-3, 0, 3]) / 3**0.5, rel=1e-3)

    table = overview(rows, (2, 4))
    assert [len(group) for group in table.groups] == [15, 15]
    assert table.rows[0] == {"codec": "first", "rule": "encoder", "setting": "", "2": -10, "4": -10}
    assert [table.rows[1][key] for key in ("2", "4")] == [-13, -15]
    best = [line for line in table.markdown().splitlines() if "**-" in line and line.startswith("|")]
    assert [line.split("|")[3].strip() for line in best] == ["default", "default"]


def test_families_have_colours_and_rates_have_line_styles():
    drawn = panels(_found())
    assert [panel.title for panel in drawn] == ["first", "second"]
    assert drawn[0].level == (-10, "encoder")
    curves = drawn[0].curves
    assert len(curves) == 14
    plain = [curve for curve in curves if not curve.emphasised]
    for looks in ({curve.colour for curve in plain}, {(curve.family, curve.colour) for curve in plain}):
        assert len(looks) == 4
    assert len({(curve.family, curve.dashes) for curve in curves}) == 14
    (default,) = (curve for curve in curves if curve.emphasised)
    assert (default.label, default.colour, default.cost) == (DEFAULT_RULE.setting, "black", [1, 2, 3, 4])
    assert default.quality == [-10 - 14 - k for k in range(1, 5)]
    adam = next(curve for curve in curves if curve.family == "Adam")
    assert (adam.cost, adam.marker) == ([2, 4], "o")  # the ends of its runs


@pytest.fixture(scope="module")
def run(tmp_path_factory, saved):
    out = tmp_path_factory.mktemp("rules") / "out"
    args = ["rules", f"--out={out}", f"--codecs=[{saved('kl')},{saved('kl16')}]", "--device=cpu", "--threads=1"]
    assert main([*args, "--count=3", "--size=16", "--batch_size=2", "--marks=[1,3]"]) == 0
    return out


def _rows(out):
    with (out / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_on_two_codecs(run, saved):
    rows = _rows(run)
    assert [row["codec"] for row in rows] == ["kl"] * 29 + ["kl16"] * 29
    assert [(row["evaluations"], row["rule"]) for row in rows[:2]] == [("0", ENCODER.family), ("1", "forward step")]
    codec = load_codec(str(saved("kl16")))
    batch = generate(codec, 3, 16)
    scaled = codec.scaling.apply
    expected = nmse_db(scaled(codec.encode(batch.image)), scaled(batch.latent))
    for row in rows[29:44]:  # after one evaluation every rule reports the start
        assert float(row["nmse_db"]) == pytest.approx(float(expected.mean()), abs=1e-3)
        assert float(row["nmse_db_worst"]) == pytest.approx(float(expected.max()), abs=1e-3)


def test_its_files(run):
    text = (run / "table.md").read_text()
    assert "on Stable Diffusion 2.1" in text
    assert "| Adam | lr 0.01 | -19.39 | -20.84 | -21.71 | -21.85 |" in text
    assert "codecs kl, kl16" in text
    options = json.loads((run / "environment.json").read_text())["options"]
    assert set(options) == set(inspect.signature(rules).parameters)
    assert options["marks"] == [1, 3]
    with Image.open(run / "rules.png") as image:
        assert min(image.size) > 500


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--codecs=[]", "`codecs`"),
        ("--codecs=[a/x,b/x]", "each of another name"),
        ("--codecs=[/does/not/exist]", "Expected"),
        ("--count=1", "`count` to be at least 2"),
        ("--marks=[3,1]", "`marks` to be increasing"),
        ("--device=toaster", "`device`"),
    ],
)
def test_bad_options_are_named(tmp_path, capsys, option, message):
    assert main(["rules", f"--out={tmp_path / 'out'}", option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
