"""Frames joined to clips: files, tables and pictures of whole runs of the command line."""

import csv
import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from decinv.callbacks import ClipImages, ClipWriter, Images, ResultWriter
from decinv.callbacks.strips import draw_residuals, draw_strip
from decinv.cli import run
from decinv.codecs import FrameRule, LinearCodec
from decinv.data import GeneratedClips, generate_clip
from decinv.images.eight_bit import to_picture
from decinv.metrics import psnr_db
from decinv.modules import DecoderInversion
from decinv.runs import RunDirectory
from decinv.video import read_clip, scan
from decinv.video.clips import Moment


class Pairs(LinearCodec):
    """Codes each pair of frames by their mean."""

    frames = FrameRule(2, 2, 1, 1)

    def _encode(self, clip):
        return torch.stack([super(Pairs, self)._encode(clip[:, :, k : k + 2].mean(2)) for k in range(0, clip.shape[2], 2)], 2)

    def _decode(self, latent):
        return torch.stack([super(Pairs, self)._decode(frame) for frame in latent.unbind(2) for _ in range(2)], 2)


@pytest.fixture
def fit(tmp_path):
    """Run the command line on a codec whose solution is known, with the callbacks of clips."""

    def start(data, *options, out="run", lossless=True, images=False):
        callbacks = [
            {"class_path": "ResultWriter", "init_args": {"reconstructions": False, "encoder_psnr": False}},
            {"class_path": "ClipWriter", "init_args": {"lossless": lossless}},
            *([{"class_path": "ClipImages", "init_args": {"frames": 3}}] if images else []),
        ]
        logger = [] if images else ["--trainer.logger=false"]
        arguments = [
            *("fit", "--model=DecoderInversion", "--model.codec=LinearCodec", "--trainer.accelerator=cpu"),
            *("--trainer.enable_progress_bar=false", f"--trainer.callbacks={json.dumps(callbacks)}", *logger),
            *(f"--data={json.dumps(data)}", *options, "--out", str(tmp_path / out)),
        ]
        run(arguments)
        return tmp_path / out

    return start


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def latent_of(path, name):
    with safe_open(path / "clips" / f"{name}.safetensors", "pt") as file:
        return file.get_tensor(name), file.metadata()


GENERATED = {"class_path": "GeneratedClips", "init_args": {"count": 2, "clip_length": 5, "size": 16, "batch_size": 4}}


def test_a_run_of_generated_clips(fit):
    path = fit(GENERATED)
    frames, clips = table(path / "frames.csv"), table(path / "clips.csv")
    assert [row["name"] for row in clips] == ["generated-00000", "generated-00001"]
    assert [(row["clip"], row["place"]) for row in frames] == [(f"generated-{c:05d}", str(k)) for c in (0, 1) for k in range(5)]
    results = table(path / "results.csv")
    assert [row["psnr_db"] for row in frames] == [row["psnr_db"] for row in results]
    for index, row in enumerate(clips):
        own = results[5 * index : 5 * index + 5]
        truth = generate_clip(LinearCodec(), index, 5, 16)
        latent, metadata = latent_of(path, row["name"])
        run_directory = RunDirectory(path)
        stored = [run_directory.latent(frame) for frame in run_directory.rows() if frame.name.startswith(row["name"])]
        assert torch.equal(latent, torch.stack(stored, dim=1))
        torch.testing.assert_close(latent, truth.latent.transpose(0, 1), rtol=0, atol=0.1)  # saturated pixels
        assert json.loads(metadata["seconds"]) == [k / 8 for k in range(5)]
        assert (row["frames"], row["usable"], row["statuses"]) == ("5", "5", "CONVERGED 5")
        for column, choose in (("nmse_db", max), ("residual", max), ("psnr_db", min)):
            values = [float(each[column]) for each in own]
            assert float(row[f"{column}_worst"]) == pytest.approx(choose(values), rel=1e-5)
            assert float(row[f"{column}_median"]) == pytest.approx(np.median(values), rel=1e-5)
        assert float(row["seconds"]) == pytest.approx(sum(float(each["seconds"]) for each in own), rel=1e-4)

        exact = LinearCodec().decode(latent.transpose(0, 1)).clamp(-1, 1)
        pictures = np.stack([to_picture(frame) for frame in exact])
        written = read_clip(path / "clips" / f"{row['name']}.mkv")
        assert np.array_equal(np.stack([to_picture(frame) for frame in written.unbind(1)]), pictures)
        times = scan(path / "clips" / f"{row['name']}.preview.mp4").times
        assert [float(time) for time in times] == pytest.approx([k / 8 for k in range(5)], abs=1e-4)
    assert not list(path.rglob("*.part"))


def test_a_table_of_an_earlier_start_is_merged_anew(fit, monkeypatch):
    """Between the moments at which a process looks for what is missing, another has done its part and has not merged it yet."""
    path = fit(GENERATED)
    expected = [(path / name).read_text() for name in ("results.csv", "frames.csv", "clips.csv")]
    (path / "results.csv").write_text("".join(expected[0].splitlines(keepends=True)[:4]))
    (path / "clips.csv").unlink()
    monkeypatch.setattr("decinv.callbacks.writer.merge_if_complete", lambda run: False)
    fit(GENERATED, "--data.shard=0/2")
    assert [(path / name).read_text() for name in ("results.csv", "frames.csv", "clips.csv")] == expected


def test_films_with_damage_and_their_times(fit, film, tmp_path):
    times = [0, 10, 200, 210, 500]
    (tmp_path / "in").mkdir()
    film(tmp_path / "in" / "a.mkv", 5, times)
    (tmp_path / "in" / "b.mp4").touch()
    (tmp_path / "in" / "shots").mkdir()
    for number in range(3):
        Image.new("RGB", (9, 6), (40 * number, 90, 20)).save(tmp_path / "in" / "shots" / f"{number}.png")
    (tmp_path / "in" / "shots" / "1.png").write_text("no image")
    data = {"class_path": "VideoData", "init_args": {"root": str(tmp_path / "in"), "clip_length": 4}}
    path = fit(data)
    clips = {row["name"]: row for row in table(path / "clips.csv")}
    assert {name: (row["frames"], row["usable"]) for name, row in clips.items()} == {
        "a.mkv-0000": ("4", "4"),
        "a.mkv-0001": ("1", "1"),
        "shots-0000": ("3", "2"),
        "b.mp4": ("0", "0"),
    }
    assert clips["b.mp4"]["statuses"] == "UNREADABLE 1"
    assert clips["b.mp4"]["reason"]
    assert "shots/1.png" in clips["shots-0000"]["reason"]
    assert clips["shots-0000"]["statuses"] == "CONVERGED 2, UNREADABLE 1"
    latent, _ = latent_of(path, "shots-0000")
    assert latent.isnan().all(dim=(0, 2, 3)).tolist() == [False, True, False]
    assert json.loads(latent_of(path, "a.mkv-0001")[1]["frames"]) == [4]
    assert [float(time) for time in scan(path / "clips" / "a.mkv-0000.mkv").times] == pytest.approx([0, 0.01, 0.2, 0.21])
    assert read_clip(path / "clips" / "shots-0000.mkv").shape == (3, 2, 6, 9)  # without padding
    assert [row["seconds"] for row in table(path / "frames.csv")][:4] == ["0", "0.01", "0.2", "0.21"]
    failed = {row["name"]: row["status"] for row in table(path / "results.csv") if row["status"] == "UNREADABLE"}
    assert failed == {"b.mp4": "UNREADABLE", "shots-0000/00001": "UNREADABLE"}


def without_clock(rows):
    return [{key: value for key, value in row.items() if key not in ("seconds", "peak_mib")} for row in rows]


def test_clips_are_joined_by_whoever_ends_last_and_after_an_interruption(fit, tmp_path):
    """Frames are divided among jobs and continued one by one; the outcome is that of one uninterrupted run."""
    options = ["--data.block=2"]
    whole = fit(GENERATED, *options, out="whole")
    first = fit(GENERATED, *options, "--data.shard=0/2")
    assert not (first / "clips").exists()
    assert not (first / "clips.csv").exists()
    # A killed process: its last row is torn, and the latents of its last chunk are gone.
    shard = next((first / "tables").glob("00000-of-00002.csv"))
    shard.write_text(shard.read_text()[:-9])
    fit(GENERATED, *options, "--data.shard=1/2")
    assert not (first / "clips.csv").exists()
    path = fit(GENERATED, *options, "--data.shard=0/2")
    for name in ("frames.csv", "clips.csv", "results.csv"):
        assert without_clock(table(path / name)) == without_clock(table(whole / name)), name
    for name in ("generated-00000", "generated-00001"):
        assert torch.equal(latent_of(path, name)[0], latent_of(whole, name)[0])
    before = (path / "clips.csv").stat().st_mtime_ns
    fit(GENERATED, *options, "--data.shard=0/2")
    assert (path / "clips.csv").stat().st_mtime_ns == before
    content = (path / "clips.csv").read_bytes()
    (path / "clips.csv").unlink()  # broken off while clips were joined
    fit(GENERATED, *options, "--data.shard=0/2")
    assert (path / "clips.csv").read_bytes() == content


def test_what_a_process_left_that_was_killed_while_it_joined_is_used_again(fit, monkeypatch):
    path = fit(GENERATED, out="run")
    (path / "clips.csv").unlink()
    left = []

    def interrupt(*args):
        left.extend(path.rglob(".*.part"))
        raise RuntimeError("broken off")

    with monkeypatch.context() as patch:
        patch.setattr("decinv.callbacks.clips.summarise", interrupt)
        with pytest.raises(RuntimeError, match="broken off"):
            fit(GENERATED)
    assert [file.name.split(".csv")[0] for file in left] == [".frames"]
    left[0].touch()
    fit(GENERATED)
    assert (path / "clips.csv").exists()
    assert not list(path.rglob(".*.part"))


def test_clips_are_joined_without_pictures_of_files_that_are_gone_or_others_since(fit, film, tmp_path):
    (tmp_path / "in" / "shots").mkdir(parents=True)
    film(tmp_path / "in" / "a.mkv", 3)
    film(tmp_path / "in" / "b.mkv", 2)
    Image.new("RGB", (9, 6)).save(tmp_path / "in" / "shots" / "0.png")
    data = {"class_path": "VideoData", "init_args": {"root": str(tmp_path / "in"), "clip_length": None}}
    path = fit(data)
    names = ("clips.csv", "frames.csv", "results.csv")
    before = [table(path / name) for name in names]
    shutil.rmtree(path / "clips")
    (path / "clips.csv").unlink()  # broken off before clips were joined
    (tmp_path / "in" / "a.mkv").unlink()
    Image.new("RGB", (16, 16)).save(tmp_path / "in" / "shots" / "0.png")
    fit(data)
    assert [table(path / name) for name in names] == before
    latents = {f"{name}.safetensors" for name in ("a.mkv", "b.mkv", "shots")}
    assert {file.name for file in (path / "clips").iterdir()} == {*latents, "b.mkv.preview.mp4", "b.mkv.mkv"}


def test_a_clip_whose_frames_changed_their_size_between_two_starts_costs_no_other_its_files(fit, film, tmp_path):
    shots = tmp_path / "in" / "shots"
    shots.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (8, 8)).save(shots / f"{number}.png")
    film(tmp_path / "in" / "z.mkv", 2)
    data = {"class_path": "VideoData", "init_args": {"root": str(tmp_path / "in"), "clip_length": None, "block": 2}}
    fit(data, "--data.shard=0/2", lossless=False)  # shots 0 and 1, and the film
    for number in range(4):
        Image.new("RGB", (12, 8)).save(shots / f"{number}.png")
    path = fit(data, "--data.shard=1/2", lossless=False)
    clips = table(path / "clips.csv")
    assert [(row["name"], row["frames"], row["usable"]) for row in clips] == [("shots", "4", "2"), ("z.mkv", "2", "2")]
    assert clips[0]["reason"].startswith("Expected frames of one size, but")
    latent, _ = latent_of(path, "shots")
    assert latent.shape == (4, 4, 2, 2)
    assert latent.isnan().all(dim=(0, 2, 3)).tolist() == [False, False, True, True]
    assert [bool(row["reason"]) for row in table(path / "frames.csv")] == [False, False, True, True, False, False]
    assert [file.name for file in (path / "clips").glob("*.mp4")] == ["z.mkv.preview.mp4"]


def test_pictures_of_clips(fit, tmp_path):
    path = fit({**GENERATED, "init_args": {**GENERATED["init_args"], "batch_size": 3}}, images=True, lossless=False)
    assert not list((path / "clips").glob("*.mkv"))
    with Image.open(path / "images" / "generated-00001.png") as strip:
        pixels = np.asarray(strip)
    truth = generate_clip(LinearCodec(), 1, 5, 16).image
    for column, place in enumerate((0, 2, 4)):
        left, top = 22 + column * (96 + 4), 36
        shown = pixels[top : top + 96 : 6, left : left + 96 : 6]
        assert np.array_equal(shown, to_picture(truth[place]))
    accumulator = EventAccumulator(str(path))
    accumulator.Reload()
    names = ("generated-00000", "generated-00001")
    assert sorted(accumulator.Tags()["images"]) == [f"{kind}/{name}" for kind in ("clips", "residuals") for name in names]
    assert sorted(file.name for file in (path / "images").iterdir()) == sorted(
        f"{name}{suffix}.png" for name in names for suffix in ("", ".residual")
    )


@pytest.mark.parametrize("name", [r"$\no formula$.mp4", "long" * 200, "two\nlines\udcff"])
def test_any_name_can_stand_above_pictures(name):
    residuals = draw_residuals(name, 2, {0: torch.tensor([0.1, 0.01])})
    picture = Image.new("RGB", (96, 96))
    strip = draw_strip(name, [(Moment(1_000_000, Fraction(40_000)), (picture,) * 3)])
    assert residuals.size == draw_residuals("a", 2, {0: torch.tensor([0.1, 0.01])}).size
    for drawn in (residuals, strip):
        grey = np.asarray(drawn.convert("L"))
        assert (grey[:, -2:] == 255).all()
        assert (grey[:, :2] == 255).all()


def test_clips_of_a_codec_that_compresses_time(tmp_path):
    """A clip is a row; frames have a PSNR of their own, and no residual."""
    codec = Pairs()
    data = GeneratedClips(count=2, clip_length=4, size=16, unit="clip")
    callbacks = [ResultWriter(), ClipWriter(lossless=True), ClipImages(), Images()]
    trainer = Trainer(accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
                      enable_checkpointing=False, default_root_dir=tmp_path, callbacks=callbacks)  # fmt: skip
    trainer.fit(DecoderInversion(codec, rtol=1e-6), datamodule=data)
    (batch,) = GeneratedClips(count=2, clip_length=4, size=16, unit="clip").chunks(codec)
    frames, clips = table(tmp_path / "frames.csv"), table(tmp_path / "clips.csv")
    assert [(row["name"], row["frames"], row["usable"], row["statuses"]) for row in clips] == [
        (f"generated-{index:05d}", "4", "4", "CONVERGED 4") for index in range(2)
    ]
    for index, name in enumerate(batch.names):
        latent, _ = latent_of(tmp_path, name)
        torch.testing.assert_close(latent, batch.latent[index], rtol=0, atol=0.1)
        decoded = codec.decode(latent[None])[0].clamp(-1, 1)
        psnr = psnr_db(decoded.transpose(0, 1), batch.image[index].transpose(0, 1))
        own = frames[4 * index : 4 * index + 4]
        assert [float(row["psnr_db"]) for row in own] == pytest.approx(psnr.tolist(), rel=1e-4)
        assert {row["residual"] for row in own} == {""}
        pictures = np.stack([to_picture(frame) for frame in decoded.unbind(1)])
        written = read_clip(tmp_path / "clips" / f"{name}.mkv")
        assert np.array_equal(np.stack([to_picture(frame) for frame in written.unbind(1)]), pictures)
        for place in range(4):
            with Image.open(tmp_path / "reconstructions" / name / f"{place:05d}.png") as picture:
                assert np.array_equal(np.asarray(picture), pictures[place])
    assert sorted(file.name for file in (tmp_path / "images").iterdir()) == [f"generated-{k:05d}.png" for k in range(2)]


@pytest.mark.parametrize("callback", [ClipWriter(), ClipImages()])
def test_runs_without_clips_are_refused(fit, tmp_path, callback):
    images = {"class_path": "GeneratedData", "init_args": {"count": 1, "size": 16}}
    name = type(callback).__name__
    with pytest.raises(ValueError, match=f"Expected data with clips, such as VideoData, for {name}, but got GeneratedData"):
        fit(images, f'--trainer.callbacks=[{{"class_path": "{name}"}}]')


def test_clips_need_results(fit):
    with pytest.raises(ValueError, match="Expected a ResultWriter that writes latents beside ClipWriter"):
        fit(GENERATED, '--trainer.callbacks=[{"class_path": "ClipWriter"}]')


def test_wrong_options():
    with pytest.raises(ValueError, match="`count` to be at least 0 and `frames` at least 1, but got -1 and 8"):
        ClipImages(count=-1)
