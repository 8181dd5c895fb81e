"""The memory of clips against frames, on tiny sizes."""

import csv
import json

import pytest

from decinv.benchmark.__main__ import main
from decinv.benchmark.frames.command import STABLE_DIFFUSION, WAYS


@pytest.fixture(scope="module")
def run(tmp_path_factory, saved):
    out = tmp_path_factory.mktemp("frames") / "new"
    small = {"codec": saved("kl"), "counts": "[1,3]", "size": 16, "height": 16, "width": 24, "most_frames": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STABLE_DIFFUSION, "block_out_channels", (32, 32))
        patch.setitem(STABLE_DIFFUSION, "layers_per_block", 1)
        for side in ("down_block_types", "up_block_types"):
            patch.setitem(STABLE_DIFFUSION, side, STABLE_DIFFUSION[side][:2])
        patch.setattr("decinv.benchmark.frames.command.WAYS", WAYS[1:])  # the default's history takes long to fill
        assert main(["frames", "--out", str(out), *(f"--{key}={value}" for key, value in small.items())]) == 0
    return out


def test_memory_is_flat_for_frames_apart_and_grows_for_whole_clips(run):
    rows = list(csv.DictReader((run / "table.csv").read_text().splitlines()))
    peaks = {(row["subject"], row["way"], int(row["frames"])): float(row["peak_mib"]) for row in rows}
    assert len(rows) == len(peaks) == 2 * 5 * 2
    for (subject, way, frames), peak in peaks.items():
        if frames == 3:
            grown = peak / peaks[subject, way, 1]
            assert (2.5 < grown < 3.2) if "whole clip" in way else (0.99 < grown < 1.02), (subject, way, grown)
    free, apart = "gradient-free, paper's Adam", "gradient, frame by frame"
    for subject in {row["subject"] for row in rows}:
        assert peaks[subject, free, 3] < peaks[subject, f"{apart}, checkpointed", 3] < peaks[subject, apart, 3]
    assert {row["source"] for row in rows if row["subject"].startswith("Stable")} == {"plan"}


def test_everything_is_written(run):
    assert (run / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "checkpointed" in (run / "table.md").read_text()
    assert json.loads((run / "environment.json").read_text())["options"]["counts"] == [1, 3]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--counts=[4,1]", "`counts` to increase from at least 1, but got [4, 1]"),
        ("--at_once=0", "`at_once` above 0 and `most_frames` not below 0, but got 0 and 256"),
    ],
)
def test_bad_options_are_named(tmp_path, capsys, option, sentence):
    assert main(["frames", "--out", str(tmp_path / "new"), option]) == 2
    assert sentence in capsys.readouterr().err


def test_a_codec_of_clips_is_refused(tmp_path, saved, capsys):
    assert main(["frames", "--out", str(tmp_path / "new"), f"--codec={saved('wan')}", "--counts=[1]"]) == 2
    assert "a codec of images, but" in capsys.readouterr().err
