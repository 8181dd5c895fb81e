"""The command line: run directories, help, and what it says about bad input."""

import csv
import signal
from pathlib import Path

import pytest
import yaml
from lightning import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from decinv.cli import main, run

JOB = str(Path(__file__).parents[1] / "configs" / "decoder_inversion.yaml")
QUICK = [
    "--trainer.accelerator=cpu",
    "--model.codec=LinearCodec",
    "--model.codec.stride=8",
    "--data.limit=2",
    "--data.batch_size=1",
]


def test_a_run_leaves_everything_in_its_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "-c", JOB, *QUICK, "--out", "first"]) == 0
    found = {path.name for path in (tmp_path / "first").iterdir()}
    assert {"config.yaml", "results.csv", "latents", "reconstructions", "images", "convergence.png"} <= found
    assert any(name.startswith("events.out.tfevents") for name in found)
    assert [path.name for path in tmp_path.iterdir()] == ["first"]
    with (tmp_path / "first" / "results.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    expected = ["name", "status", "iterations", "evaluations", "residual", "psnr_db", "nmse_db", "seconds", "peak_mib"]
    assert set(expected) <= set(rows[0])
    assert {row["status"] for row in rows} == {"CONVERGED"}
    assert all(float(row["residual"]) <= 1e-5 for row in rows)


def test_without_out_a_fresh_directory_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        run(["fit", "-c", JOB, *QUICK])
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_directory_with_a_run_is_refused(tmp_path, capsys):
    assert main(["fit", "-c", JOB, *QUICK, "--out", str(tmp_path / "run")]) == 0
    before = (tmp_path / "run" / "results.csv").read_text()
    assert main(["fit", "-c", JOB, *QUICK, "--out", str(tmp_path / "run")]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (tmp_path / "run" / "results.csv").read_text() == before


def test_the_saved_config_runs_again(tmp_path):
    run(["fit", "-c", JOB, *QUICK, "--model.rtol=1e-3", "--out", str(tmp_path / "one")])
    saved = tmp_path / "one" / "config.yaml"
    assert yaml.safe_load(saved.read_text())["model"]["init_args"]["rtol"] == 1e-3
    run(["fit", "-c", str(saved), "--out", str(tmp_path / "two")])
    columns = [[row["name"], row["iterations"], row["residual"]] for row in _rows(tmp_path / "one")]
    assert columns == [[row["name"], row["iterations"], row["residual"]] for row in _rows(tmp_path / "two")]


def _rows(directory):
    with (directory / "results.csv").open(newline="") as table:
        return list(csv.DictReader(table))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--data.root=/no/such/folder"], "/no/such/folder"),
        (["--model.rtol=-1"], "`rtol` to be at least 0"),
        (["--model.max_iters=0"], "`max_iters` to be at least 1"),
        (["--trainer.precision=bf16-true"], "set `model.codec.dtype`"),
        (["--model.codec=AutoencoderCodec", "--model.codec.path=./no/such/codec"], "no/such/codec"),
    ],
)
def test_bad_values_get_one_sentence(tmp_path, capsys, options, sentence):
    assert main(["fit", "-c", JOB, *QUICK, *options, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert len([line for line in error.splitlines() if line.startswith("decinv: error: ")]) == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (
            "model",
            {"DecoderInversion": ["max_iters", "rtol", "patience", "last_iterate"], "GradientInversion": ["checkpointing"]},
        ),
        ("data", {"ImageData": ["root", "batch_size", "crop", "limit"], "GeneratedData": ["perturbation", "seed"]}),
    ],
)
def test_every_option_has_help(capsys, name, options):
    for kind, expected in options.items():
        with pytest.raises(SystemExit):
            main(["fit", f"--{name}.help", kind])
        text = capsys.readouterr().out
        for option in expected:
            line = text[text.index(f".{option} ") :].split("\n  --")[0]
            assert len(line.split("(")[0].split()) > 4, f"{kind}.{option} has no help"


def test_an_interruption_that_the_trainer_took_for_its_own_is_one(tmp_path, capsys, monkeypatch):
    def end(self, **options):
        raise SIGTERMException

    monkeypatch.setattr(Trainer, "fit", end)
    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    assert main(["fit", "-c", JOB, *QUICK, "--out", str(tmp_path / "run")]) == 143
    assert capsys.readouterr().err.endswith(f"run the same command again with --out {tmp_path / 'run'}.\n")
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_print_config_is_a_config(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["fit", "-c", JOB, "--print_config"])
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["model"]["class_path"].endswith("DecoderInversion")
