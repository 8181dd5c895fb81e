import csv

import pytest
import torch
from lightning import Trainer

from decinv.callbacks import ResultWriter, WatermarkDetection
from decinv.callbacks.marks import detect_in_run
from decinv.codecs import LinearCodec
from decinv.data import MarkedNoise
from decinv.diffusion import DDIM, DiffusersPipeline
from decinv.methods import NaiveInversion
from decinv.modules import EncodedLatent, SamplerInversion
from decinv.rows import Row
from decinv.runs import RunDirectory
from decinv.runs.latents import noise_file, write_latents
from decinv.runs.table import format_row, read_rows, write_table
from decinv.status import Status
from decinv.watermark import Mask, ThreeKeys, TreeRingKey, TreeRings

SHAPE = (4, 16, 16)


@pytest.fixture
def run(tmp_path):
    """A finished run on 70 images: each mark in turn and then none, every tenth without a result."""
    watermark, count = ThreeKeys(SHAPE), 70
    noise = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))
    which = torch.arange(count) % 4
    marked = which < 3
    noise[marked] = watermark.mark(noise[marked], which[marked])
    names = [f"image-{index:02d}" for index in range(count)]
    latents = "latents/00000000.safetensors"
    write_latents(tmp_path / noise_file(latents), dict(zip(names, noise, strict=True)), {})
    rows = [
        Row(name, Status.UNREADABLE, number=index, reason="no image")
        if index % 10 == 9
        else Row(name, Status.CONVERGED, number=index, latents=latents)
        for index, name in enumerate(names)
    ]
    write_table(tmp_path / "results.csv", Row._fields, map(format_row, rows))
    return RunDirectory(tmp_path), watermark


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def true_mark(number):
    return number % 4 if number % 4 < 3 else -1


def test_every_image_has_its_row_and_the_rates_are_those_of_exact_noise(run):
    directory, watermark = run
    lines = detect_in_run(directory, watermark, true_mark)
    rows = table(directory.path / "watermark.csv")
    assert [row["name"] for row in rows] == [f"image-{index:02d}" for index in range(70)]
    for index, row in enumerate(rows):
        assert int(row["true_mark"]) == true_mark(index)
        if index % 10 == 9:
            assert row["found"] == row["mark"] == row["p_value"] == ""
        elif index % 4 < 3:
            assert (int(row["mark"]), row["found"], row["key"]) == (index % 4, "True", watermark.keys[index % 4].fingerprint)
            assert float(row["distance"]) < 1e-5
            assert (row["likeliest"], row["score"]) == (row["mark"], row["correlation"])
            assert float(row["correlation"]) == pytest.approx(1)
            assert row["distance"] == f"{float(row['distance']):.6g}"
    rates = {row["quantity"]: row for row in table(directory.path / "detection.csv")}
    marked = sum(index % 4 < 3 and index % 10 != 9 for index in range(70))
    assert rates["AUC"]["value"] == rates["TPR at 1 % FPR"]["value"] == "1"
    assert (rates["TPR at 0.1 % FPR"]["low"], rates["TPR at 0.1 % FPR"]["high"]) == ("0", "1")  # of so few unmarked images
    assert int(rates["keys told right"]["value"]) == int(rates["marked images"]["value"]) == marked
    confusion = table(directory.path / "confusion.csv")
    assert sum(int(row[f"read as {row['key']}"]) for row in confusion) == marked
    assert [row["key"] for row in confusion] == ["0", "1", "2"]
    curve = [(float(row["false_alarms"]), float(row["found"])) for row in table(directory.path / "roc.csv")]
    assert curve[0] == (0, 0)
    assert curve[-1] == (1, 1)
    assert (0, 1) in curve
    assert {f"keys told right{how}: {marked} of {marked}" for how in ("", " by correlation")} <= set(lines)


def test_without_known_marks_there_are_verdicts_alone(run):
    directory, watermark = run
    detect_in_run(directory, watermark)
    rows = table(directory.path / "watermark.csv")
    assert {row["true_mark"] for row in rows} == {""}
    assert sum(row["found"] == "True" for row in rows) >= 47
    assert not (directory.path / "detection.csv").exists()


@pytest.mark.filterwarnings("ignore:The published mask")
def test_keys_without_a_p_value_give_no_verdict(run):
    lines = detect_in_run(run[0], ThreeKeys(SHAPE, mask=Mask.PUBLISHED))
    assert lines == ["whether images carry a mark is not known, since these keys have no p-value"]
    assert {row["found"] for row in table(run[0].path / "watermark.csv")} == {""}


def test_keys_of_another_shape_are_refused_and_leave_no_table(run):
    with pytest.raises(ValueError, match=r"Expected noise of shape \(4, 8, 8\), .* but got \(4, 16, 16\)"):
        detect_in_run(run[0], ThreeKeys((4, 8, 8)))
    assert not (run[0].path / "watermark.csv").exists()


def test_noise_that_cannot_carry_a_mark_costs_the_others_nothing(run):
    """Of another shape, and not finite, which is not written."""
    directory, watermark = run
    rows = list(read_rows(directory.results))
    other = "latents/00000008.safetensors"
    write_latents(directory.path / noise_file(other), {rows[0].name: torch.randn(4, 8, 8)}, {})
    changed = [row._replace(latents=other) if row.number < 2 else row for row in rows]
    write_table(directory.results, Row._fields, map(format_row, changed))
    lines = detect_in_run(directory, watermark)
    found = table(directory.path / "watermark.csv")
    assert [row["mark"] == "" for row in found] == [row.number < 2 or not row.latents for row in rows]
    assert "images with noise of shape (4, 8, 8), which carries no mark: 1" in lines


@pytest.mark.parametrize("callbacks", [[], [ResultWriter(latents=False)]])
def test_detection_needs_a_writer_of_noise_before_it(saved_pipeline, tmp_path, callbacks):
    with pytest.raises(ValueError, match="ResultWriter that writes latents before WatermarkDetection"):
        _fit(saved_pipeline, tmp_path, [*callbacks, WatermarkDetection(), ResultWriter()], SHAPE)


def test_keys_of_another_shape_are_refused_before_a_run(saved_pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(SamplerInversion, "training_step", lambda *_: pytest.fail("solved"))
    with pytest.raises(ValueError, match="Expected noise of 4 x 16 x 16, which carries the marks, but images have 4 x 8 x 8"):
        _fit(saved_pipeline, tmp_path, [ResultWriter(), WatermarkDetection(ThreeKeys(SHAPE))], (4, 8, 8))


def test_one_image_that_can_carry_a_mark_suffices_for_a_run(saved_pipeline, tmp_path, monkeypatch):
    """Wherever it is in the list."""
    monkeypatch.setattr(MarkedNoise, "image_size", lambda self, item, codec: (16, 16) if item.number == 150 else (32, 32))
    monkeypatch.setattr(SamplerInversion, "training_step", lambda *_: pytest.fail("solved"))
    with pytest.raises(pytest.fail.Exception, match="solved"):
        _fit(saved_pipeline, tmp_path, [ResultWriter(), WatermarkDetection(ThreeKeys((4, 8, 8)))], (4, 16, 16), count=200)


def test_the_process_that_ends_last_looks_at_all_images(saved_pipeline, tmp_path):
    """And none before, where an earlier start of one process left its table."""
    write_table(tmp_path / "results.csv", Row._fields, [])
    for index, expected in ((0, False), (1, True)):
        observers = [ResultWriter(), WatermarkDetection()]
        _fit(saved_pipeline, tmp_path, observers, (4, 8, 8), block=1, shard=f"{index}/2", run=RunDirectory(tmp_path))
        assert (tmp_path / "watermark.csv").exists() == expected
    assert len(table(tmp_path / "watermark.csv")) == 4


@pytest.mark.parametrize("keys", [1, 2])
def test_images_that_carry_other_marks_have_verdicts_but_no_rates(saved_pipeline, tmp_path, capsys, keys):
    """Of three marks that were compared with others by their numbers: two broke the run's end, and one was told right."""
    files = [str(tmp_path / f"{seed}.safetensors") for seed in range(keys)]
    for seed, file in enumerate(files):
        TreeRingKey.make((4, 8, 8), 0, 3, seed=seed).save(file)
    observers = [ResultWriter(), WatermarkDetection(TreeRings(files))]
    _fit(saved_pipeline, tmp_path, observers, (4, 8, 8), run=RunDirectory(tmp_path))
    rows = table(tmp_path / "watermark.csv")
    assert [(row["true_mark"], row["found"] in ("True", "False")) for row in rows] == [("", True)] * 4
    assert not (tmp_path / "detection.csv").exists()
    assert "the images carry the marks of another watermark" in capsys.readouterr().out


def _fit(saved_pipeline, tmp_path, callbacks, shape, count=4, run=None, **options_of_data):
    """Run a job on images of ``shape``, in a run directory if one is given."""
    pipeline = DiffusersPipeline(str(saved_pipeline("stable")[0]))
    module = SamplerInversion(LinearCodec(stride=2), pipeline, DDIM(1), NaiveInversion(), EncodedLatent(), guidance=1.0)
    options = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False, "logger": False}
    trainer = Trainer(accelerator="cpu", max_epochs=-1, default_root_dir=tmp_path, callbacks=callbacks, **options)
    data = MarkedNoise(ThreeKeys(shape), count=count, size=2 * shape[1], **options_of_data)
    data.run = run
    trainer.fit(module, datamodule=data)
