"""Runs with edits that fail: what they say, and how they end."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decinv.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:Expected a mask for each image")
JOB = str(Path(__file__).parents[2] / "configs" / "editing.yaml")
TINY = ["--model.codec=LinearCodec", "--model.codec.stride=2", "--model.decoder=EncodedLatent", "--model.method=NaiveInversion"]


@pytest.fixture
def edit(tmp_path, saved_pipeline):
    """Invert ``a`` and ``b``, edit them with the masks in ``masks``, of which ``b`` has none yet; give the exit status."""
    for name, radius in (("a", 0), ("b", 90)):
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.linear_gradient("L").rotate(radius).resize((16, 16)).save(path)
    (tmp_path / "masks").mkdir()
    Image.new("L", (16, 16), 255).save(tmp_path / "masks" / "a.png")
    pipeline = f"--model.pipeline.path={saved_pipeline('stable')[0]}"
    data = ["--data=ImageData", f"--data.root={tmp_path / 'photos'}", "--model.prompt=a red circle", "--trainer.devices=1"]
    masks = f"{{class_path: MaskFiles, init_args: {{path: {tmp_path / 'masks'}}}}}"
    short = ["--model.sampler.init_args.steps=2", "--trainer.accelerator=cpu"]

    def run(out, *options, latents="true", measure=""):
        editing = f"{{class_path: Editing, init_args: {{prompts: [a blue square], mask: {masks}{measure}}}}}"
        writer = f"{{class_path: ResultWriter, init_args: {{latents: {latents}}}}}"
        callbacks = [f"--trainer.callbacks=[{editing}, {writer}, {{class_path: Summary}}]"]
        return main(["fit", "-c", JOB, *callbacks, pipeline, *TINY, *data, *short, *options, "--out", str(tmp_path / out)])

    return run


def rows(run):
    with (run / "edits.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def differ(*paths):
    """Give the largest difference of two images, in levels of 8 bits; batches of other sizes may be rounded otherwise."""
    one, other = (np.asarray(Image.open(path), dtype=int) for path in paths)
    return np.abs(one - other).max()


def test_edits_that_fail_are_told_of(tmp_path, edit, capsys):
    assert edit("run") == 3
    assert "1 of 2 edits failed; " in capsys.readouterr().out
    assert [bool(row["reason"]) for row in rows(tmp_path / "run")] == [False, True]


def test_edits_that_failed_are_made_by_the_same_command_without_inverting_again(tmp_path, edit, capsys):
    assert edit("run") == 3
    assert edit("run") == 3  # nothing is mended yet
    assert "1 of 2 edits failed; " in capsys.readouterr().out
    results, good = (tmp_path / "run" / name for name in ("results.csv", "edits/a.png.0.png"))
    before = results.read_bytes(), good.stat().st_mtime_ns
    Image.new("L", (16, 16), 255).save(tmp_path / "masks" / "b.png")
    assert edit("run") == 0
    assert "says why" not in capsys.readouterr().out
    assert (results.read_bytes(), good.stat().st_mtime_ns) == before
    assert edit("fresh", "--data.batch_size=1") == 0
    assert differ(*(tmp_path / out / "edits" / "b.png.0.png" for out in ("run", "fresh"))) <= 1
    assert [row["reason"] for row in rows(tmp_path / "run")] == ["", ""]


def test_edits_that_were_deleted_are_made_again(tmp_path, edit):
    Image.new("L", (16, 16), 255).save(tmp_path / "masks" / "b.png")
    assert edit("run") == 0
    table = (tmp_path / "run" / "edits.csv").read_bytes()
    (tmp_path / "run" / "edits" / "a.png.csv").unlink()
    assert edit("run") == 0
    assert (tmp_path / "run" / "edits.csv").read_bytes() == table


def test_edits_of_generated_images_are_made_again(tmp_path, edit):
    """They are sampled anew before the first chunk is."""
    data = ["--data=GeneratedNoise", "--data.size=16", "--data.count=2"]
    Image.new("L", (16, 16), 255).save(tmp_path / "masks" / "sampled-00000.png")
    assert edit("run", *data) == 3
    Image.new("L", (16, 16), 255).save(tmp_path / "masks" / "sampled-00001.png")
    assert edit("run", *data) == 0
    assert edit("fresh", *data, "--data.batch_size=1") == 0
    assert differ(*(tmp_path / out / "edits" / "sampled-00001.0.png" for out in ("run", "fresh"))) <= 1


def test_edits_that_failed_count_where_their_noise_was_not_written(tmp_path, edit):
    assert edit("run", latents="false") == 3
    table = (tmp_path / "run" / "edits.csv").read_bytes()
    assert edit("run", latents="false") == 3
    assert (tmp_path / "run" / "edits.csv").read_bytes() == table


def test_a_run_without_any_mask_ends_before_images_are_inverted(tmp_path, edit, capsys):
    (tmp_path / "masks" / "a.png").unlink()
    assert edit("run") == 2
    assert "Expected a mask for each image" in capsys.readouterr().err
    assert not (tmp_path / "run" / "results.csv").exists()
    for name in "ab":
        Image.new("L", (16, 16), 255).save(tmp_path / "masks" / f"{name}.png")
    assert edit("run") == 0


@pytest.mark.parametrize(("measure", "message"), [("lpips: true", "torchvision"), ("clip: /nowhere/none", "CLIP model")])
def test_measures_that_cannot_be_taken_end_a_run_before_images_are_inverted(
    tmp_path, edit, capsys, monkeypatch, measure, message
):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert edit("run", measure=f", {measure}") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "results.csv").exists()
