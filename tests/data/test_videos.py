"""Videos from files to chunks: every frame asked for once, in order, in a stream."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from decinv.codecs import FrameRule, LinearCodec
from decinv.data import VideoData
from decinv.data.listing import list_videos
from decinv.images import cover, pad_to_multiple
from decinv.memory import PeakMemory
from decinv.video import read_clip

CODEC = LinearCodec()


class PairCodec(LinearCodec):
    """Codes each pair of frames by their mean."""

    frames = FrameRule(2, 2, 1, 1)

    def _encode(self, clip):
        means = clip.unflatten(2, (-1, 2)).mean(3)
        return super()._encode(means.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(clip), -1)).transpose(1, 2)

    def _decode(self, latent):
        images = super()._decode(latent.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(latent), -1)).transpose(1, 2)
        return images.repeat_interleave(2, dim=2)


@pytest.fixture
def folder(film, tmp_path):
    """Two videos of 7 and 4 frames, of one size when padded, and a directory of 3 frames."""
    root = tmp_path / "films"
    (root / "sub" / "shots").mkdir(parents=True)
    film(root / "a.mkv", 7)
    film(root / "sub" / "b.avi", np.random.default_rng(1).integers(0, 256, (4, 12, 18, 3), dtype=np.uint8))
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(root / "sub" / "shots" / f"{number}.png")
    (root / "note.txt").touch()
    return root


def test_videos_and_directories_of_frames_are_listed(folder):
    assert [video.name for video in list_videos(str(folder))] == ["a.mkv", "sub/b.avi", "sub/shots"]
    assert [video.name for video in list_videos(str(folder / "sub" / "shots"))] == ["shots"]
    assert [video.name for video in list_videos(str(folder / "*"))] == ["a.mkv", "note.txt"]  # a glob means what it says
    assert [video.name for video in list_videos(str(folder / "sub" / "*"))] == ["b.avi", "shots"]
    (folder / "list.txt").write_text("sub/shots\na.mkv\n")
    assert [video.name for video in list_videos(str(folder / "list.txt"))] == ["sub/shots", "a.mkv"]
    (folder / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Expected videos \(.*\.mp4.*found none"):
        list_videos(str(folder / "none"))


def test_a_directory_with_a_video_has_no_frames_of_its_own(folder):
    Image.new("RGB", (8, 8)).save(folder / "poster.png")
    assert [video.name for video in list_videos(str(folder))] == ["a.mkv", "sub/b.avi", "sub/shots"]


def test_frames_are_rows(folder):
    data = VideoData(str(folder), batch_size=5, clip_length=4, block=100)
    batches = list(data.chunks(CODEC))
    assert data.total == 14
    names = [name for batch in batches for name in batch.names]
    assert sorted(names) == sorted(
        [f"a.mkv-0000/{k:05d}" for k in range(4)]
        + [f"a.mkv-0001/{k:05d}" for k in range(3)]
        + [f"sub/b.avi-0000/{k:05d}" for k in range(4)]
        + [f"sub/shots-0000/{k:05d}" for k in range(3)]
    )
    assert max(len(batch.names) for batch in batches) == 5
    found = {name: batch.image[k] for batch in batches for k, name in enumerate(batch.names)}
    sizes = {name: batch.size(k) for batch in batches for k, name in enumerate(batch.names)}
    a, b = read_clip(folder / "a.mkv"), read_clip(folder / "sub" / "b.avi")
    assert torch.equal(found["a.mkv-0001/00002"], a[:, 6])
    assert torch.equal(found["sub/b.avi-0000/00003"], pad_to_multiple(b[:, 3], 4))
    assert sizes["sub/b.avi-0000/00003"] == (12, 18)
    assert [(clip.name, len(clip.items)) for clip in data.clips()] == [
        ("a.mkv-0000", 4),
        ("a.mkv-0001", 3),
        ("sub/b.avi-0000", 4),
        ("sub/shots-0000", 3),
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_processes_share_the_frames_of_a_video(film, tmp_path, workers):
    film(tmp_path / "a.mkv", 9)
    whole = read_clip(tmp_path / "a.mkv")
    seen = {}
    for index in range(3):
        data = VideoData(str(tmp_path), batch_size=2, block=2, shard=f"{index}/3", clip_length=None, workers=workers)
        for batch in data.chunks(CODEC):
            for number, image in zip(batch.numbers, batch.image, strict=True):
                assert number not in seen
                seen[number] = image
    assert torch.equal(torch.stack([seen[number] for number in range(9)], dim=1), whole)


def test_memory_does_not_grow_with_the_clip(film, tmp_path):
    peaks = []
    for count in (8, 32):
        film(tmp_path / f"{count}.mkv", np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8))
        data = VideoData(str(tmp_path / f"{count}.mkv"), batch_size=2, clip_length=None, block=64, workers=0)
        data.setup("fit")
        with PeakMemory("cpu") as peak:
            for _ in data.chunks(CODEC):
                pass
        peaks.append(peak.bytes)
    assert peaks[0] == peaks[1] < 8 * 64 * 64 * 3 * 4


def test_clips_by_time_and_number(film, tmp_path):
    times = [0, 10, 20, 500, 510, 1000]
    written = film(tmp_path / "a.mkv", 6, times)
    data = VideoData(str(tmp_path), fps=4.0, clip_length=3, clips=1)
    (batch,) = data.chunks(CODEC)
    assert batch.names == tuple(f"a.mkv-0000/{k:05d}" for k in range(3))
    assert [int(str(item.part).split("@")[0]) for item in data.inputs] == [0, 2, 3]
    shown = ((batch.image + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(shown, written[[0, 2, 3]])
    data = VideoData(str(tmp_path), stride=2, clip_length=2, limit=1)
    assert [item.part for item in data.inputs] == ["0@0", "2@1/50", "4@51/100"]


def test_only_as_much_is_decoded_as_is_asked_for(film, tmp_path):
    film(tmp_path / "a.mp4", 20, container={"movflags": "faststart"})
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
    assert len(VideoData(str(tmp_path), clip_length=2, clips=2, stride=1).inputs) == 4  # the damage lies behind


def test_frames_are_resized_and_cut(film, tmp_path):
    film(tmp_path / "a.mkv", 2)
    (batch,) = VideoData(str(tmp_path), size=(8, 8)).chunks(CODEC)
    assert batch.image.shape == (2, 3, 8, 8)
    torch.testing.assert_close(batch.image[1], cover(read_clip(tmp_path / "a.mkv")[:, 1], 8, 8))
    (batch,) = VideoData(str(tmp_path), crop=True).chunks(LinearCodec(stride=8))
    assert torch.equal(batch.image, read_clip(tmp_path / "a.mkv").transpose(0, 1)[..., :8, :16])
    assert VideoData(str(tmp_path)).image_size(VideoData(str(tmp_path)).list_inputs()[0], LinearCodec(stride=8)) == (16, 24)


def test_broken_videos_cost_nobody_anything(folder, film):
    (folder / "0 empty.mp4").touch()
    (folder / "b text.webm").write_text("no video")
    film(folder / "c half.mp4", 20, container={"movflags": "faststart"})
    content = (folder / "c half.mp4").read_bytes()
    (folder / "c half.mp4").write_bytes(content[: len(content) // 2])
    (folder / "sub" / "shots" / "1.png").write_text("no image")
    data = VideoData(str(folder), clip_length=None, batch_size=4)
    batches = list(data.chunks(CODEC))
    failures = {failure.name: failure.reason for batch in batches for failure in batch.failures}
    assert sorted(failures) == ["0 empty.mp4", "b text.webm", "c half.mp4-damage", "sub/shots/00001"]
    assert "it is empty" in failures["0 empty.mp4"]
    assert all(reason.startswith("Expected ") and "\n" not in reason for reason in failures.values())
    names = [name for batch in batches for name in batch.names]
    assert sum(name.startswith("c half.mp4/") for name in names) >= 5
    assert {f"a.mkv/{k:05d}" for k in range(7)} <= set(names)
    assert {"sub/shots/00000", "sub/shots/00002"} <= set(names)
    assert len(names) + len(failures) == data.total
    assert [clip.name for clip in data.clips()] == ["a.mkv", "c half.mp4", "sub/b.avi", "sub/shots"]


def test_directories_without_frames_that_are_asked_for_are_failures(folder, film, monkeypatch):
    """One that is empty, in a manifest, and one that may not be listed, in a glob; the good video beside them is inverted."""
    (folder / "empty").mkdir()
    (folder / "list.txt").write_text("empty\na.mkv\n")
    (folder / "locked").mkdir()
    listdir = os.listdir

    def refuse(path="."):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)  # rather than chmod, which does not stop root
    for root, bad, reason in (("list.txt", "empty", "there is none"), ("[al]*[dv]", "locked", "Permission denied")):
        data = VideoData(str(folder / root), clip_length=None, batch_size=8)
        (batch,) = data.chunks(CODEC)
        (failure,) = batch.failures
        assert (failure.name, len(batch.names), data.total) == (bad, 7, 8)
        assert failure.reason.startswith("Expected a directory of images")
        assert reason in failure.reason


def test_only_broken_videos(tmp_path):
    (tmp_path / "a.mp4").touch()
    for codec, unit, shape in ((CODEC, "frame", (0, 3, 4, 4)), (PairCodec(), "clip", (0, 3, 2, 4, 4))):
        (batch,) = VideoData(str(tmp_path), unit=unit).chunks(codec)
        assert batch.image.shape == shape
        assert codec.encode(batch.image).shape[0] == 0
        assert [failure.name for failure in batch.failures] == ["a.mp4"]


def test_codecs_that_compress_time_get_whole_clips(folder):
    codec = PairCodec()
    with pytest.raises(ValueError, match=r"Expected `data\.unit` clip for a codec that compresses time, but got frame"):
        next(VideoData(str(folder)).chunks(codec))
    data = VideoData(str(folder), clip_length=2, unit="clip", block=100)
    batches = list(data.chunks(codec))
    assert [clip.name for clip in data.clips()] == [
        "a.mkv-0000",
        "a.mkv-0001",
        "a.mkv-0002",
        "sub/b.avi-0000",
        "sub/b.avi-0001",
        "sub/shots-0000",
    ]
    assert [tuple(batch.image.shape) for batch in batches] == [(5, 3, 2, 12, 20), (1, 3, 2, 8, 8)]
    assert torch.equal(batches[0].image[2], read_clip(folder / "a.mkv")[:, 4:6])
    (batch,) = VideoData(str(folder), clip_length=None, limit=1, unit="clip").chunks(codec)
    assert batch.failures[0].name == "a.mkv"
    assert "frames, but got 7; take 6" in batch.failures[0].reason


def test_names_that_another_video_has(folder):
    """A clip called x-0000 of the video x, and the whole video x-0000."""
    (folder / "list.csv").write_text("path,name\na.mkv,x\n")
    data = VideoData(str(folder / "list.csv"), clip_length=4)
    assert [clip.name for clip in data.clips()] == ["x-0000", "x-0001"]
    (folder / "bad.mp4").touch()
    (folder / "list.csv").write_text("path,name\na.mkv,x\nbad.mp4,x-0001\n")
    with pytest.raises(ValueError, match="unique names of clips, but those of 'x-0001' are taken"):
        VideoData(str(folder / "list.csv"), clip_length=4).list_inputs()


def test_wrong_options():
    for option in ("batch_size", "clip_length", "clips", "stride", "limit", "max_pixels", "block"):
        with pytest.raises(ValueError, match=f"`{option}` to be at least 1, but got 0"):
            VideoData("samples", **{option: 0})
    for option in ("fps", "folder_fps"):
        with pytest.raises(ValueError, match=f"`{option}` to be above 0"):
            VideoData("samples", **{option: 0.0})
    with pytest.raises(ValueError, match="`workers` to be 0 or 1"):
        VideoData("samples", workers=2)
    with pytest.raises(ValueError, match="`size` to be two numbers"):
        VideoData("samples", size=(0, 8))


def test_the_shipped_samples():
    data = VideoData("samples", clips=1)
    batches = list(data.chunks(CODEC))
    assert [clip.name for clip in data.clips()] == ["moving-05.mp4-0000", "moving-07.mp4-0000"]
    assert sum(len(batch.names) for batch in batches) == data.total == 32
    assert {tuple(batch.image.shape[1:]) for batch in batches} == {(3, 64, 64)}


def test_frames_are_padded_to_whole_patches_of_the_network(folder):
    codec = LinearCodec(stride=4)
    codec.patch = 2
    data = VideoData(str(folder / "sub" / "b.avi"), clip_length=4)
    (batch,) = data.chunks(codec)
    assert batch.image.shape[-2:] == (16, 24)
    assert data.image_size(data.list_inputs()[0], codec) == (16, 24)
