import csv
import json
from pathlib import Path

import pytest
import torch

from decinv.benchmark.__main__ import main
from decinv.benchmark.maker import Maker
from decinv.benchmark.sampler.measure import invert, step_residuals
from decinv.benchmark.sampler.methods import contenders
from decinv.benchmark.sampler.rows import TRUE_LATENT, Found, match, summarise
from decinv.codecs import load_codec
from decinv.diffusion import DDIM, DiffusersPipeline, DPMSolver
from decinv.methods import ExactInversion, NaiveInversion
from decinv.status import Status

SMALL = ["--count=2", "--size=16", "--ddim=2", "--multistep=3", "--fine=4", "--most=2", "--rtols=[1e-2]", "--iterations=1"]
SMALL += ["--ours=1", "--guidance=[1,1.5]", "--reference=1.5", "--behind=[naive]", "--elsewhere=[naive,ours]", "--device=cpu"]
SMALL += ["--threads=1"]


@pytest.fixture(scope="module")
def path(saved_pipeline):
    return str(saved_pipeline("stable")[0])


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def maker(path, sampler, *prompts):
    codec = load_codec(path)
    return Maker(DiffusersPipeline(path), codec, sampler, 2.0, prompts, 8 * codec.stride)


def test_every_combination_has_its_row(tmp_path, path):
    assert main(["sampler", f"--out={tmp_path}", f"--pipeline={path}", f"--codec={path}/vae", *SMALL]) == 0
    table = rows(tmp_path / "table.csv")
    names = contenders(64, 4, 2, [1e-2])
    expected = []
    samplers = (("DDIM 2", False), ("2M 3", True))
    expected += [(sampler, "1.0", "true latent", name) for sampler, _ in samplers for name in ("naive", "ours")]
    for sampler, several in samplers:
        expected += [(sampler, "1.5", "true latent", one.name) for one in names if one.inverts(several)]
        expected += [(sampler, "1.5", d, "naive") for d in ("encoder", "gradient Adam 0.1 cosine", "Anderson")]
    assert [(row["sampler"], row["guidance"], row["decoder"], row["method"]) for row in table] == expected
    for row in table:
        assert float(row["t0t"]) <= float(row["t0t_worst"])
        assert float(row["seconds"]) > 0
        assert (float(row["decoder_seconds"]) > 0) == (row["decoder"] != "true latent")
        if row["method"] == "ours" and row["decoder"] == "true latent":
            assert float(row["t0t"]) < 1e-8
            assert row["status"] == "2 converged"
    naive = next(row for row in table if row["method"] == "naive" and row["sampler"] == "DDIM 2")
    assert float(naive["evaluations"]) == 2
    matched = rows(tmp_path / "matched.csv")
    assert {row["method"] for row in matched if row["ratio"]} >= {"naive", "Algorithm 1", "Algorithm 2"}
    steps = rows(tmp_path / "steps.csv")
    assert sum(row["method"] == "ours" for row in steps) == 2 + 3
    assert not [row for row in steps if row["method"] == "naive, 4 steps"]
    report = (tmp_path / "table.md").read_text()
    assert "same T0T" in report
    assert f"; diffusion model {Path(path).name}; codec vae; float32; " in report
    assert json.loads((tmp_path / "environment.json").read_text())["options"]["most"] == 2
    assert (tmp_path / "sampler.png").is_file()


FLOWS = ["--pipeline=bundled-flow", "--ddim=null", "--multistep=null", "--guidance=[1]", "--reference=1", "--size=64"]
FLOWS += ["--decoders=[]", "--count=2", "--rtols=[]", "--fine=10", "--device=cpu", "--threads=1"]


def test_samplers_of_flows(tmp_path, monkeypatch):
    monkeypatch.setattr("decinv.benchmark.sampler.report.draw_sampler", lambda *_: None)  # takes long, and is tested above
    few = [*FLOWS, "--flow=4", "--methods=[naive,AIDI]", "--behind=[naive]", "--elsewhere=[naive]"]
    assert main(["sampler", f"--out={tmp_path}", *few]) == 0
    table = rows(tmp_path / "table.csv")
    samplers = ("Euler 4", "RF-Solver 2", "FireFlow 3")
    assert [row["sampler"] for row in table if row["method"] == "naive"] == list(samplers)
    assert [row["sampler"] for row in table if row["method"] == "AIDI"] == ["Euler 4"]
    assert all(float(row["evaluations"]) == 4 for row in table if row["method"] == "naive")
    steps = [row["sampler"] for row in rows(tmp_path / "steps.csv") if row["method"] == "naive"]
    assert [steps.count(name) for name in samplers] == [4, 4, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--flow=3"], "even number of predictions, at least 2, but got 3"),
        (
            ["--flow=4"],
            "can invert Euler 4, but 'naive, 10 steps' cannot; leave it out. Expected a sampler whose noise levels",
        ),
        (["--flow=4", "--ddim=4"], "a model that DDIM samples, but got 'bundled-flow'"),
    ],
)
def test_what_does_not_go_with_flows_is_refused(tmp_path, capsys, options, message):
    assert main(["sampler", f"--out={tmp_path}", *FLOWS, *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sampler", [DDIM(3), DPMSolver(3)])
def test_residuals_of_steps_are_those_of_the_points(path, sampler):
    one = maker(path, sampler, "a red circle")
    made = one.make([0, 1], seed=1)
    process = one.process(made.prompts)
    points = torch.stack([visited.point for visited in process.walk(made.noise)], dim=1)
    assert float(step_residuals(process, points, made.latent).max()) < 1e-5
    points[:, 1] *= 1.01
    assert (step_residuals(process, points, made.latent)[:, 0] - 0.01 / 1.01).abs().max() < 1e-4
    for method, low, high in ((ExactInversion(), 0.0, 1e-5), (NaiveInversion(), 1e-4, 1.0)):
        found = invert(method, one.process(made.prompts), made.latent)
        assert found.points is not None
        assert low <= float(step_residuals(process, found.points, made.latent).max()) < high
        assert torch.equal(method.invert(one.process(made.prompts), made.latent).latent, found.noise)


def test_an_image_depends_on_its_number_alone(path):
    one = maker(path, DDIM(2), "a red circle", "a blue square")
    both = one.make([0, 1], seed=1)
    alone = one.make([1], seed=1)
    assert alone.prompts == ["a blue square"]
    assert torch.equal(alone.noise, both.noise[1:])
    assert float((alone.image - both.image[1:]).abs().max()) < 2.1 / 255


def found(method, t0t_db, evaluations, guidance=3.0, decoder=TRUE_LATENT):
    both = torch.tensor([t0t_db, t0t_db - 10])
    spent, status = torch.tensor([evaluations, evaluations]), (Status.CONVERGED, Status.STALLED)
    return Found("DDIM", guidance, decoder, method, both, both, both, spent, 2.0, 0.0, status, torch.empty(2, 0))


def test_chunks_become_a_row():
    row = summarise([found("naive", -20.0, 10), found("naive", -30.0, 20)])
    assert (row.t0t, row.t0t_worst) == pytest.approx(((1e-2 + 2e-3 + 1e-4) / 4, 1e-2))
    assert (row.t0t_db, row.t0t_db_worst) == pytest.approx((-30.0, -20.0))
    assert (row.evaluations, row.seconds) == (15.0, 1.0)
    assert row.status == "2 converged, 2 stalled"


def test_the_cheapest_that_is_as_accurate_is_matched():
    given = [found("Algorithm 1", -30.0, 300), found("ours, rtol 0.1", -20.0, 50), found("ours, rtol 0.01", -40.0, 60)]
    given += [found("ours", -90.0, 150), found("ours, rtol 0.1", -50.0, 10, guidance=1.0)]
    given += [found("naive", -10.0, 50, decoder="encoder"), found("better", -99.0, 70)]
    first, last = match([summarise([one]) for one in given])
    assert (first.method, first.ours, first.ratio) == ("Algorithm 1", "ours, rtol 0.01", 5.0)
    assert (last.method, last.ours, last.ratio) == ("better", "", None)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--most=0", "iterations"),
        ("--ddim=0", "`steps`"),
        ("--reference=2", "`reference`"),
        ("--behind=[best]", "`behind` to be of naive; naive, 4 steps; AIDI; AIDI, Anderson; "),
        ("--decoders=[none]", "Anderson, squares; Anderson; "),
    ],
)
def test_bad_options_are_named(tmp_path, path, capsys, option, message):
    assert main(["sampler", f"--out={tmp_path / 'out'}", f"--pipeline={path}", *SMALL, option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_flow_is_refused_at_once(tmp_path, capsys):
    assert main(["sampler", f"--out={tmp_path / 'out'}", "--pipeline=bundled-flow", *SMALL]) == 2
    error = capsys.readouterr().err
    assert "Expected `pipeline` to be a model that DDIM samples, but got 'bundled-flow' with FlowMatchEuler" in error
    assert not (tmp_path / "out" / "environment.json").exists()
