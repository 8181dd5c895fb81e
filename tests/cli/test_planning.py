"""``--plan`` shows what a run would need, and leaves no trace."""

import re
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from decinv.cli import main
from decinv.cli.planning import MOST_LOOKS, show_plan
from decinv.codecs import LinearCodec
from decinv.data import GeneratedData, VideoData
from decinv.modules import DecoderInversion
from decinv.plan import MOST_SAMPLES

CONFIGS = Path(__file__).parents[2] / "configs"
JOB = ["fit", "-c", str(CONFIGS / "decoder_inversion.yaml"), "--model.codec=LinearCodec", "--model.codec.stride=8"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for number, size in enumerate([(64, 64), (64, 61), (65, 80), (16, 16)]):
        Image.new("RGB", size).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    return tmp_path / "photos"


def planned(*options):
    """Plan; give the exit status."""
    with pytest.raises(SystemExit) as end:
        main([*options, "--plan=true"])
    return end.value.code


def test_a_plan_of_a_run_on_another_machine_writes_nothing(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    there = ["--trainer.accelerator=gpu", "--trainer.devices=8", "--plan_budget=0.5", f"--data.root={folder}", "--out=run"]
    assert planned(*JOB, *there) == 0
    shown = capsys.readouterr().out
    rows = re.findall(r"^ *(\d+) x (\d+) +(\d+) +([\d.,]+) +([\d.,]+) +([\d.,]+) +([\d.,]+) +(\d+) *$", shown, re.MULTILINE)
    assert [row[:3] for row in rows] == [("80", "72", "1"), ("64", "64", "2")]  # as padded; the largest, the most common
    _, single, peak, together, largest = map(float, rows[0][3:])
    assert single < peak < together
    assert largest == pytest.approx(8 * 512 / together, rel=0.1)
    assert "Not counted" in shown
    assert "Of all sizes the largest and the most common one are shown" in shown
    assert "--plan_budget" not in shown
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_plan_leaves_a_run_that_is_there_alone(folder, tmp_path):
    run = tmp_path / "run"
    lean = ["--trainer.accelerator=cpu", "--trainer.callbacks=[ResultWriter]", "--trainer.logger=false", "--data.limit=1"]
    assert main([*JOB, *lean, f"--data.root={folder}", f"--out={run}"]) == 0
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert planned(*JOB, f"--data.root={folder}", f"--out={run}", "--fresh=true", "--trainer.precision=bf16-mixed") == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_codec_is_planned_by_its_config_alone(saved, tmp_path, capsys):
    (tmp_path / "config.json").write_bytes((saved("kl") / "config.json").read_bytes())
    job = ["fit", "-c", str(CONFIGS / "gradient_inversion.yaml"), f"--model.codec.path={tmp_path}", "--data.limit=1"]
    assert planned(*job) == 0
    assert "--plan_budget 24" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--plan_budget=0"], "--plan_budget to be above 0 GiB, but got 0"),
        (["--trainer.precision=16-true"], "`precision` to be one of 32-true, bf16-mixed, 16-mixed, but got '16-true'"),
        (["--data.root=/no/such/folder"], "nothing at '/no/such/folder'"),
        (["--data.max_pixels=1"], "Expected images to plan for, but none of 6 inputs has a size that can be read"),
        (["--model.codec=AutoencoderCodec", "--model.codec.path=./no/such/codec"], "no/such/codec"),
    ],
)
def test_what_cannot_be_planned_gets_one_sentence(capsys, options, sentence):
    assert main([*JOB, *options, "--plan=true"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.startswith("decinv: error: ")


def test_a_training_is_not_planned(capsys):
    assert main(["fit", "-c", str(CONFIGS / "train" / "autoencoder.yaml"), "--plan=true"]) == 2
    assert "Expected an inversion to plan, but got AutoencoderTraining" in capsys.readouterr().err


@pytest.mark.parametrize("config", ["sampler_inversion", "watermark_detection", "editing"])
def test_a_diffusion_model_is_not_planned(capsys, config):
    assert main(["fit", "-c", str(CONFIGS / f"{config}.yaml"), "--plan=true"]) == 2
    assert "Expected an inversion of a decoder to plan, but got SamplerInversion" in capsys.readouterr().err


@pytest.mark.parametrize(("unit", "size", "number"), [("frame", "16 x 24", "5"), ("clip", "3 x 16 x 24", "1")])
def test_what_is_wrong_with_a_video_is_no_frame_of_it(film, tmp_path, capsys, unit, size, number):
    for name, count in (("a", 3), ("b", 2)):
        film(tmp_path / f"{name}.mkv", count)
        with (tmp_path / f"{name}.mkv").open("r+b") as file:
            file.truncate((tmp_path / f"{name}.mkv").stat().st_size - 1)
    data = VideoData(str(tmp_path), clip_length=None, unit=unit, batch_size=2)
    assert [item.name for item in data.inputs if item.part is None] == ["a.mkv-damage", "b.mkv-damage"]
    show_plan(DecoderInversion(LinearCodec(stride=8)), data, 32, 1.0)
    rows = re.findall(r"^ *([\dx ]+x \d+) +(\d+) ", capsys.readouterr().out, re.MULTILINE)
    assert rows == [(size, number)]


def test_of_a_long_list_some_sizes_are_looked_up(capsys):
    data = GeneratedData(count=10 * MOST_LOOKS - 5, size=16, batch_size=2)
    show_plan(DecoderInversion(LinearCodec()), data, 32, 1.0)
    shown = capsys.readouterr().out
    assert "Sizes are those of 2,000 of 19,995 inputs.\n" in shown
    assert "the largest" not in shown
    assert "2,000 " in shown.split("Peak")[0]


def test_no_digit_is_cut_off_in_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setattr("decinv.cli.planning.get_console", lambda: Console(width=40))
    show_plan(DecoderInversion(LinearCodec()), GeneratedData(count=2, size=16, batch_size=8), 32, 1.0)
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert re.search(r"^ *16 x 16 +2 +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +(\d+) *$", shown, re.MULTILINE)


def test_the_largest_batch_that_is_looked_for_is_told_as_such(capsys):
    show_plan(DecoderInversion(LinearCodec()), GeneratedData(count=2, size=16, batch_size=8), 32, 1e6)
    assert f" {MOST_SAMPLES} or more" in capsys.readouterr().out
