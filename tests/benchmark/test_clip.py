import csv
import json

import pytest
import torch
from PIL import Image

from decinv.api import invert
from decinv.benchmark.__main__ import main
from decinv.benchmark.measuring.methods import DEFAULT, GRADIENT, PAPER
from decinv.codecs import load_codec
from decinv.data import generate_clip
from decinv.metrics import nmse_db


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_frames_and_means(tmp_path, saved):
    out, threads = tmp_path / "new", torch.get_num_threads()
    args = ["clip", f"--out={out}", f"--codec={saved('kl')}", "--device=cpu", "--clip_length=3", "--size=16", "--batch_size=2"]
    assert main([*args, "--marks=[1,3]", "--baseline=4", "--threads=1"]) == 0
    torch.set_num_threads(threads)
    table, frames = rows(out / "table.csv"), rows(out / "frames.csv")
    keys = [("encoder", "0"), (GRADIENT, "4"), (PAPER, "4"), (DEFAULT, "1"), (DEFAULT, "3")]
    assert [(row["method"], row["iterations"]) for row in table] == keys
    codec = load_codec(str(saved("kl")))
    truth = generate_clip(codec, length=3, size=16)
    found = {
        ("encoder", "0"): codec.encode(truth.image),
        (DEFAULT, "3"): invert(truth.image, codec, max_iters=3, rtol=0, patience=None).latent,
    }
    for row in table:
        own = [frame for frame in frames if (frame["method"], frame["iterations"]) == (row["method"], row["iterations"])]
        assert [frame["frame"] for frame in own] == list(truth.names)
        values = [float(frame["nmse_db"]) for frame in own]
        assert float(row["nmse_db"]) == pytest.approx(sum(values) / 3, abs=1e-4)
        assert float(row["nmse_db_worst"]) == pytest.approx(max(values), abs=1e-4)
        latent = found.get((row["method"], row["iterations"]))
        if latent is not None:
            scaled = codec.scaling.apply
            assert values == pytest.approx(nmse_db(scaled(latent), scaled(truth.latent)).tolist(), abs=1e-2)
    assert [float(row["backwards"]) for row in table] == [0, 4, 0, 0, 0]
    assert json.loads((out / "environment.json").read_text())["options"]["marks"] == [1, 3]
    with Image.open(out / "frames.png") as figure:
        assert figure.width > 1000


def test_wrong_options(tmp_path, capsys):
    for option in ("--count=0", "--clip_length=1", "--baseline=0", "--marks=[3,2]"):
        assert main(["clip", f"--out={tmp_path}", option]) == 2
        assert f"Expected `{option[2:].split('=')[0]}`" in capsys.readouterr().err
