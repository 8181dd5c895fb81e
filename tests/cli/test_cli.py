"""The command line: run directories, help, and what it says about bad input."""

import csv
import errno
import itertools
import os
import pydoc
import re
import shutil
import signal
import sys
import threading
from datetime import datetime
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
import torch
import yaml
from lightning import Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.profilers import SimpleProfiler
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from decinv.callbacks.worker import Worker
from decinv.cli import command, main, run
from decinv.profiler import NullProfiler
from decinv.runs import RunDirectory

JOB = str(Path(__file__).parents[2] / "configs" / "decoder_inversion.yaml")
QUICK = [
    "--trainer.accelerator=cpu",
    "--model.codec=LinearCodec",
    "--model.codec.stride=8",
    "--data.limit=2",
    "--data.batch_size=1",
]
LEAN = [*QUICK, "--trainer.callbacks=[ResultWriter]", "--trainer.logger=false"]
"""The same without curves and pictures, which take longer than all else, where they are not the point."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Give the directory of a run of all callbacks that is done, not to be changed."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    assert main(["fit", "-c", JOB, *QUICK, "--out", str(directory)]) == 0
    return directory


@pytest.fixture
def done(finished, tmp_path):
    """Give a copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


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


def test_a_class_of_a_module_in_the_working_directory_is_found(tmp_path, monkeypatch):
    """The path of an installed command begins with its own directory, not with that where it is called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry])
    (tmp_path / "own_codec.py").write_text("from decinv.codecs import LinearCodec\nclass OwnCodec(LinearCodec): pass\n")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "own.yaml").write_text("model: {init_args: {codec: {class_path: own_codec.OwnCodec}}}\n")
    assert main(["fit", "-c", JOB, *LEAN, "-c=configs/own.yaml", "--model.codec.stride=8", "--out=run"]) == 0


OWN_DATA = """
import torch
from decinv.batch import Batch
from decinv.data import ChunkData

class OwnData(ChunkData):
    total = 1

    def chunks(self, codec):
        yield Batch(torch.zeros(1, 3, 8, 8), ("grey",))
"""


def test_a_run_of_own_chunks_is_not_told_to_go_on(tmp_path, monkeypatch, capsys):
    """What cannot go on is told how to start anew, and does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_data.py").write_text(OWN_DATA)
    args = ["fit", "-c", JOB, "--model.codec=LinearCodec", "--data=own_data.OwnData", *LEAN[-2:], "--out=run"]
    assert main(args) == 0
    assert main(args) == 2
    said = capsys.readouterr().err
    assert "runs go on with an `IndexedData`, which OwnData is not; to start anew, repeat the command with --fresh true" in said
    assert main([*args, "--fresh=true"]) == 0


def test_a_module_saves_the_hyper_parameters_that_it_was_made_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_module.py").write_text(
        "from decinv.codecs import Codec\n"
        "from decinv.modules import EncoderInversion\n"
        "class OwnModule(EncoderInversion):\n"
        "    def __init__(self, codec: Codec, depth: int = 3) -> None:\n"
        "        super().__init__(codec)\n"
        "        self.save_hyperparameters()\n"
    )
    own = ["--model=own_module.OwnModule", *LEAN, "--model.depth=5"]
    made = run(["fit", "-c", str(Path(JOB).with_name("encoder_inversion.yaml")), *own, "--out=run"]).model.hparams
    assert (made["_class_path"], made["depth"]) == ("own_module.OwnModule", 5)
    assert made["codec"]["init_args"]["stride"] == 8


@pytest.mark.parametrize(("options", "expected"), [([], NullProfiler), (["--trainer.profiler=simple"], SimpleProfiler)])
def test_a_profiler_that_is_asked_for_is_the_one(tmp_path, options: list[str], expected: type) -> None:
    cli = run(["fit", "-c", JOB, *LEAN, *options, "--out", str(tmp_path / "run")])
    assert type(cli.trainer.profiler) is expected
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert saved["trainer"]["profiler"] == (options[0].split("=")[1] if options else None)


def test_without_out_a_fresh_directory_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        run(["fit", "-c", JOB, *LEAN])
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_runs_that_start_in_the_same_second_do_not_share_a_directory(tmp_path, monkeypatch):
    class Still(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(command, "datetime", Still)
    names = []
    threads = [Thread(target=lambda: names.append(command._fresh_directory(tmp_path / "runs"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 8
    assert {Path(name).name for name in names} == {"2026-01-02_03-04-05", *(f"2026-01-02_03-04-05_{i}" for i in range(1, 8))}


def test_a_fresh_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OSError, match=r"Expected to make .*; give --out\.$"):
        command._fresh_directory(tmp_path / "runs")


def test_a_start_that_failed_leaves_no_fresh_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "-c", JOB, *LEAN, "--model.max_iters=-1"]) == 2
    assert "Expected" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    run(["fit", "-c", JOB, *LEAN])
    assert main(["fit", "-c", JOB, *LEAN, "--model.max_iters=-1"]) == 2
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_the_default_root_directory_is_where_a_run_goes_without_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(["fit", "-c", JOB, *LEAN, "--trainer.default_root_dir=one"])
    run(["fit", "-c", JOB, *LEAN, "--trainer.default_root_dir=one", "--out=two"])
    assert all((tmp_path / name / "results.csv").is_file() for name in ("one", "two"))
    assert not (tmp_path / "runs").exists()


def test_a_run_is_continued_or_deleted_and_never_mixed(tmp_path, capsys):
    options = ["fit", "-c", JOB, *LEAN, "--out", str(tmp_path / "run")]
    assert main(options) == 0
    before = (tmp_path / "run" / "results.csv").read_bytes()
    stamp = (tmp_path / "run" / "latents" / "00000000.safetensors").stat().st_mtime_ns
    assert main([*options, "--data.workers=0", "--trainer.devices=1"]) == 0  # no result depends on those
    assert (tmp_path / "run" / "results.csv").read_bytes() == before
    assert (tmp_path / "run" / "latents" / "00000000.safetensors").stat().st_mtime_ns == stamp
    capsys.readouterr()
    assert main([*options, "--model.rtol=1e-4"]) == 2
    assert "these keys differ: model.init_args.rtol was 1e-05 and is 0.0001;" in capsys.readouterr().err
    assert (tmp_path / "run" / "results.csv").read_bytes() == before
    assert main([*options, "--model.max_iters=2", "--fresh=true"]) == 0
    assert {row["iterations"] for row in _rows(tmp_path / "run")} == {"2"}


def test_a_chunk_that_the_trainer_ends_early_has_no_rows_and_goes_on(tmp_path, capsys):
    options = ["fit", "-c", JOB, *LEAN, "--model.codec.scaling_factor=1", "--model.rtol=0", "--data.batch_size=2"]
    assert main([*options, "--out", str(tmp_path / "whole")]) == 0
    options += ["--out", str(tmp_path / "run")]
    assert main([*options, "--trainer.max_steps=3"]) == 3
    assert "The trainer ended early; 0 of 2 inputs are done; to go on, run the same command again" in capsys.readouterr().out
    assert _rows(tmp_path / "run") == []
    assert main(options) == 0
    cells = ("name", "status", "iterations", "residual")
    found, expected = ([[row[cell] for cell in cells] for row in _rows(tmp_path / name)] for name in ("run", "whole"))
    assert found == expected


def test_a_trainer_that_ends_before_the_first_chunk_says_that_images_are_left(tmp_path, capsys):
    options = ["fit", "-c", JOB, *QUICK, "--trainer.callbacks=[ResultWriter, Summary]", "--trainer.logger=false"]
    assert main([*options, "--trainer.max_time=00:00:00:00", "--out", str(tmp_path / "run")]) == 3
    found = capsys.readouterr().out
    assert "No image was finished." in found
    assert "The trainer ended early; 0 of 2 inputs are done; to go on, run the same command again" in found
    assert _rows(tmp_path / "run") == []


def test_a_progress_bar_that_is_not_wanted_is_left_out_of_a_configuration_with_one(tmp_path, capsys):
    options = ["fit", "-c", JOB, *QUICK, "--trainer.callbacks=[InversionProgress, ResultWriter]", "--trainer.logger=false"]
    options += ["--out", str(tmp_path / "run")]
    cli = run([*options, "--trainer.enable_progress_bar=false"])
    assert cli.trainer.progress_bar_callback is None
    assert "images" not in "".join(capsys.readouterr())
    assert len(_rows(tmp_path / "run")) == 2
    assert main(options) == 0  # it is the same run


def test_the_last_of_several_progress_bars_is_the_one(tmp_path):
    options = ["fit", "-c", JOB, *QUICK, "--trainer.callbacks=[InversionProgress, ResultWriter]", "--trainer.logger=false"]
    cli = run([*options, "--trainer.callbacks+=TQDMProgressBar", "--out", str(tmp_path / "run")])
    assert isinstance(cli.trainer.progress_bar_callback, TQDMProgressBar)


def test_curves_go_on_where_those_of_an_earlier_start_ended(tmp_path):
    callbacks = '[Memory, {"class_path": "Convergence", "init_args": {"figure": false}}]'
    options = ["fit", "-c", JOB, *QUICK, "--trainer.callbacks", callbacks, "--out", str(tmp_path / "run")]
    main([*options, "--trainer.max_steps=8"])
    assert main(options) == 0
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    steps = [event.step for event in events.Scalars("chunks/active_samples")]
    assert steps == list(range(1, len(steps) + 1))
    peaks = [event.step for event in events.Scalars("peak_mib")]
    assert peaks == list(range(len(peaks)))


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_training_goes_on_from_its_checkpoint_in_its_directory(tmp_path, capsys):
    job = str(Path(JOB).parent / "train" / "autoencoder.yaml")
    sizes = ["--model.block_out_channels=[8,8]", "--model.norm_num_groups=4", "--data.size=16", "--data.batch_size=2"]
    options = ["fit", "-c", job, "--out", str(tmp_path), *sizes, "--data.validation_count=2", "--data.num_workers=0"]
    options += ["--trainer.accelerator=cpu", "--trainer.precision=32-true", "--trainer.val_check_interval=2"]
    options.append('--trainer.callbacks=[{"class_path": "ModelCheckpoint", "init_args": {"save_last": true}}]')
    assert main([*options, "--trainer.max_steps=2"]) == 0
    (last,) = tmp_path.rglob("last.ckpt")
    capsys.readouterr()
    assert main([*options, "--trainer.max_steps=4"]) == 2
    error = capsys.readouterr().err
    assert f"to go on, run the same command again with --out {tmp_path} --ckpt_path" in error
    assert main([*options, "--trainer.max_steps=4", "--ckpt_path", str(last), "--fresh=true"]) == 2
    assert "Expected no --fresh true, which deletes" in capsys.readouterr().err
    assert last.exists()
    assert main([*options, "--data.seed=7", "--trainer.max_steps=4", "--ckpt_path", str(last)]) == 2
    assert "these keys differ: data.init_args.seed" in capsys.readouterr().err
    assert run([*options, "--trainer.max_steps=4", "--ckpt_path", str(last)]).trainer.global_step == 4


@pytest.mark.parametrize(
    "option",
    [
        "max_epochs=1",
        "limit_train_batches=1",
        "limit_train_batches=0.5",
        "overfit_batches=1",
        "fast_dev_run=true",
        "reload_dataloaders_every_n_epochs=1",
        "val_check_interval=100",
    ],
)
def test_limits_in_epochs_and_batches_are_refused(tmp_path, capsys, option):
    assert main(["fit", "-c", JOB, *LEAN, "--out", str(tmp_path / "run"), f"--trainer.{option}"]) == 2
    assert f"Expected no `trainer.{option.split('=')[0]}`, since an epoch is a chunk" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("callback", "options"),
    [
        ("EarlyStopping", ["monitor=loss"]),
        ("GradientAccumulationScheduler", ["scheduling={0: 2}"]),
        ("StochasticWeightAveraging", ["swa_lrs=0.1", "swa_epoch_start=1"]),
        ("EMAWeightAveraging", []),
        ("BatchSizeFinder", []),
        ("LearningRateFinder", []),
        ("BackboneFinetuning", []),
        ("SpikeDetection", []),
        ("ModelPruning", ["pruning_fn=l1_unstructured"]),
    ],
)
def test_callbacks_of_trainings_are_refused_before_anything_is_written(tmp_path, capsys, callback, options):
    words = [f"--trainer.callbacks+={callback}", *(f"--trainer.callbacks.{option}" for option in options)]
    assert main(["fit", "-c", JOB, *LEAN, *words, "--out", str(tmp_path / "run")]) == 2
    assert f"Expected callbacks for an inversion, but got {callback}, which is for the loss" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_timer_ends_a_run_which_then_goes_on(tmp_path, capsys):
    timer = ["--trainer.callbacks+=Timer", "--trainer.callbacks.duration"]
    options = ["fit", "-c", JOB, *LEAN, "--out"]
    assert main([*options, str(tmp_path / "short"), *timer, "00:00:00:00"]) == 3
    assert "The trainer ended early; 0 of 2 inputs are done" in capsys.readouterr().out
    assert main([*options, str(tmp_path / "long"), *timer, "00:01:00:00"]) == 0
    written = yaml.safe_load((tmp_path / "long" / "config.yaml").read_text())["trainer"]["callbacks"][-1]["init_args"]
    assert (written["duration"], written["interval"]) == ("00:01:00:00", "step")
    assert main(["fit", "-c", str(tmp_path / "long" / "config.yaml"), "--out", str(tmp_path / "again")]) == 0


def test_what_a_callback_of_the_trainer_refuses_while_it_runs_is_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.callbacks.device_stats_monitor._PSUTIL_AVAILABLE", False)
    options = ["fit", "-c", JOB, *QUICK, "--trainer.callbacks=[DeviceStatsMonitor]", "--out", str(tmp_path / "run")]
    assert main(options) == 2
    assert capsys.readouterr().err.startswith("decinv: error: Expected usable options of `trainer`, but: `DeviceStatsMonitor`")


def test_a_bare_trainer_logs_and_shows_nothing(tmp_path, capsys):
    options = ["fit", "-c", JOB, *QUICK, "--trainer.callbacks=[InversionProgress, ResultWriter]", "--trainer.barebones=true"]
    cli = run([*options, "--out", str(tmp_path / "run")])
    assert (cli.trainer.loggers, cli.trainer.progress_bar_callback) == ([], None)
    assert "images" not in "".join(capsys.readouterr())
    assert len(_rows(tmp_path / "run")) == 2


@pytest.mark.parametrize("wrong", ["--data.batch_size=0", "--data.shard=9/2", "--data.root=/nowhere", "--ckpt_path=/no/file"])
def test_a_fresh_start_that_fails_deletes_nothing(done, wrong):
    options = ["fit", "-c", JOB, *QUICK, "--out", str(done)]
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    assert main([*options, "--fresh=true", wrong]) == 2
    assert {path: path.read_bytes() for path in done.rglob("*") if path.is_file()} == before


def test_a_start_that_failed_at_once_leaves_nothing_to_continue(tmp_path, capsys):
    out = ["--out", str(tmp_path / "run")]
    for wrong in ("--model.max_iters=-1", "--data.root=/nowhere", "--model.codec.stride=-1"):
        assert main(["fit", "-c", JOB, *LEAN, wrong, *out]) == 2
        assert "Expected" in capsys.readouterr().err
    assert main(["fit", "-c", JOB, *LEAN, *out]) == 0


def test_the_saved_config_runs_again(tmp_path):
    run(["fit", "-c", JOB, *QUICK, LEAN[-2], "--model.rtol=1e-3", "--out", str(tmp_path / "one")])  # with a logger's paths
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
        (["--trainer.gradient_clip_val=1"], "Automatic gradient clipping is not supported for manual optimization"),
        (["--ckpt_path=/no/such.ckpt"], "`ckpt_path` to be a checkpoint, but there is nothing at '/no/such.ckpt'"),
        (["--model.codec=AutoencoderCodec", "--model.codec.path=./no/such/codec"], "no/such/codec"),
    ],
)
def test_bad_values_get_one_sentence(tmp_path, capsys, options, sentence):
    assert main(["fit", "-c", JOB, *LEAN, *options, "--out", str(tmp_path / "run")]) == 2
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
    assert main(["fit", "-c", JOB, *LEAN, "--out", str(tmp_path / "run")]) == 143
    assert capsys.readouterr().err.endswith(f"run the same command again with --out {tmp_path / 'run'}.\n")
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_print_config_is_a_config(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["fit", "-c", JOB, "--print_config"])
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["model"]["class_path"].endswith("DecoderInversion")


def test_a_directory_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["fit", "-c", JOB, *LEAN, "--out", str(tmp_path / "file" / "run")]) == 2
    assert "Expected --out to name a directory that can be written, but got: [Errno 20]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["config.yaml", "inputs.jsonl", "tables", "tables/00000-of-00001.csv", "images", "results.csv"]
)
def test_something_else_in_the_place_of_a_file(done, capsys, name):
    options = ["fit", "-c", JOB, *QUICK, "--out", str(done)]
    place = done / name
    if place.is_dir():
        shutil.rmtree(place)
        place.touch()
    else:
        place.unlink()
        place.mkdir()
    (done / "latents" / "00000001.safetensors").unlink()
    capsys.readouterr()
    assert main(options) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("decinv: error: Expected to read and write files, but got: [Errno ")


def test_an_error_of_the_language_is_no_sentence_of_ours(monkeypatch):
    """What a function in C raises comes, by its traceback, from the line of ours that called it."""
    monkeypatch.setattr("decinv.cli.entry.exit_status", lambda failed, launcher: int("three"))
    monkeypatch.setattr("decinv.cli.entry.run", lambda args: SimpleNamespace(failed=False, trainer=Trainer(logger=False)))
    with pytest.raises(ValueError, match="invalid literal"):
        main([])


SIX = [*QUICK, "--data.limit=6", "--trainer.logger=false", "--trainer.callbacks=[Images, ResultWriter]"]


def _results(directory):
    return [{k: v for k, v in row.items() if k not in ("seconds", "peak_mib")} for row in _rows(directory)]


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Give the results of six images."""
    directory = tmp_path_factory.mktemp("six") / "run"
    assert main(["fit", "-c", JOB, *SIX, "--out", str(directory)]) == 0
    return _results(directory)


@pytest.mark.parametrize(
    "place", ["decinv.runs.directory.append_rows", "decinv.callbacks.writer.update_latents", "PIL.Image.Image.save"]
)
def test_a_full_disk_ends_the_run_and_keeps_what_is_written(tmp_path, capsys, monkeypatch, place, six):
    """The disk is full from the third write on, and then has room again: the run goes on and ends like any other."""
    options = ["fit", "-c", JOB, *SIX, "--out", str(tmp_path / "run")]
    module, _, name = place.rpartition(".")
    target = pydoc.locate(module)
    write, count = getattr(target, name), itertools.count()

    def full(*args, **kwargs):
        if next(count) >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, full)
        assert main(options) == 2
    error = capsys.readouterr().err
    assert (
        len(re.findall(r"No space left on device\. What is written is kept; run the same command again,? with --out", error))
        == 1
    )
    assert main(options) == 0
    assert _results(tmp_path / "run") == six


def test_a_full_disk_that_a_loggers_thread_meets_is_told_of_once(capsys, monkeypatch):
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def run(args: object) -> None:
        writer = threading.Thread(target=full)
        writer.start()
        writer.join()
        full()

    monkeypatch.setattr("decinv.cli.entry.run", run)
    assert main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith("decinv: error: Expected to read and write files, but got: [Errno 28] No space left on device.")
    assert error.count("\n") == 1


def test_a_callback_that_is_there_twice_is_refused(tmp_path, capsys):
    assert main(["fit", "-c", JOB, *QUICK, "--out", str(tmp_path / "run"), "--trainer.callbacks+=ResultWriter"]) == 2
    assert "Expected each callback once, but got ResultWriter 2 times" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_latents_that_were_lost_are_made_again(done):
    options = ["fit", "-c", JOB, *QUICK, "--out", str(done)]
    before = (done / "results.csv").read_text()
    first, second = sorted((done / "latents").iterdir())
    latents = {name: latent.clone() for name, latent in load_file(first).items()}  # not a view of the file
    first.write_bytes(first.read_bytes()[:-10])
    second.unlink()
    assert main(options) == 0
    assert all(torch.equal(load_file(first)[name], latent) for name, latent in latents.items())
    assert second.exists()

    def names(text):
        return [line.split(",")[0] for line in text.splitlines()]

    assert names((done / "results.csv").read_text()) == names(before)


def _images(folder, count):
    folder.mkdir()
    for index in range(count):
        Image.effect_noise((16, 16), 40 + index).convert("RGB").save(folder / f"{index}.png")


def test_an_image_that_is_done_keeps_its_result_when_its_file_is_gone(tmp_path):
    """Its chunk's mates are other ones then, and are written to the file that holds its latent."""
    _images(tmp_path / "images", 6)
    shown = [*QUICK[:3], *LEAN[len(QUICK) :], f"--data.root={tmp_path / 'images'}", "--data.batch_size=2", "--data.block=6"]
    options = ["fit", "-c", JOB, *shown, "--out", str(tmp_path / "run")]
    assert main(options) == 0
    directory = RunDirectory(tmp_path / "run")
    before = {row.name: directory.latent(row) for row in directory.rows()}
    table = directory.tables[0]
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:4]))  # of 3 images
    (tmp_path / "images" / "0.png").unlink()
    assert main(options) == 0
    rows = list(directory.rows())
    assert sorted(row.name for row in rows) == [f"{index}.png" for index in range(6)]
    for row in rows:
        torch.testing.assert_close(directory.latent(row), before[row.name], rtol=1e-4, atol=1e-4)
        if row.number < 3:
            assert torch.equal(directory.latent(row), before[row.name])


def test_images_without_a_result_show_in_the_exit_status(tmp_path, monkeypatch):
    options = ["fit", "-c", JOB, *LEAN, "--out", str(tmp_path / "run")]
    monkeypatch.setattr("decinv.runs.latents.names_in", lambda path: frozenset())
    monkeypatch.setattr("decinv.runs.directory.names_in", lambda path: frozenset())
    assert main(options) == 3


@pytest.mark.parametrize("lost", ["directory", "list"])
def test_a_run_whose_list_of_inputs_is_lost_makes_up_none(tmp_path, monkeypatch, lost):
    options = ["fit", "-c", JOB, *QUICK, "--trainer.callbacks=[ResultWriter]", "--trainer.logger=false"]
    out, close = tmp_path / "run", Worker.close

    def lose(worker):
        close(worker)
        if lost == "directory":
            shutil.rmtree(out)
        else:
            (out / "inputs.jsonl").unlink()

    monkeypatch.setattr(Worker, "close", lose)
    assert main([*options, "--out", str(out)]) == 2
    assert not (out / "inputs.jsonl").exists()


@pytest.mark.parametrize("name", ["config.yaml", "inputs.jsonl"])
def test_a_run_that_lost_what_it_is_a_run_of_is_not_continued(tmp_path, capsys, name):
    options = ["fit", "-c", JOB, *LEAN, "--out", str(tmp_path / "run")]
    assert main(options) == 0
    file = tmp_path / "run" / name
    file.unlink()
    capsys.readouterr()
    assert main(options) == 2
    assert f"which would be continued, but {name} is missing; choose another --out" in capsys.readouterr().err
    assert not file.exists()
    assert main([*options, "--fresh", "true"]) == 0


def test_an_empty_configuration_is_refused(done, capsys):
    (done / "config.yaml").write_text("")
    assert main(["fit", "-c", JOB, *QUICK, "--out", str(done)]) == 2
    assert "but it holds none" in capsys.readouterr().err
