import csv
import json

import pytest
import torch
from PIL import Image

from decinv.benchmark.__main__ import main
from decinv.benchmark.codec import along_the_path
from decinv.codecs import AutoencoderCodec
from decinv.data.generated import generate
from decinv.data.procedural import procedural_batch
from decinv.metrics import psnr_db
from decinv.metrics.cocoercivity import cocoercivity


def test_figures_of_a_codec(tmp_path, saved, capsys):
    path = str(saved("kl"))
    Image.effect_noise((20, 17), 50).convert("RGB").save(tmp_path / "own.png")
    options = ["--codec", path, "--count", "2", "--size", "16", "--steps", "2", "--images", str(tmp_path / "own.png")]
    assert main(["codec", "--out", str(tmp_path / "out"), *options]) == 0
    assert "cocoercivity" in capsys.readouterr().out
    with (tmp_path / "out" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["quantity"].split(",")[0] for row in rows[:3]] == ["PSNR of D(E(x))"] * 2 + ["cocoercivity"]
    assert json.loads((tmp_path / "out" / "environment.json").read_text())["options"]["images"] == str(tmp_path / "own.png")
    codec, images = AutoencoderCodec(path), procedural_batch(2, 16, 0)
    with torch.no_grad():
        expected = psnr_db(codec.decode(codec.encode(images)).clamp(-1, 1), images).mean()
    assert float(rows[0]["value"]) == pytest.approx(float(expected), rel=1e-4)
    assert "16 x 16" in rows[1]["note"]
    assert main(["codec", "--out", str(tmp_path / "out"), *options]) == 2


def test_the_median_of_two_images_is_between_them(saved):
    codec = AutoencoderCodec(str(saved("kl")))
    middle, worst, _ = (row["value"] for row in along_the_path(codec, 2, 16, 0, 1))
    batch = generate(codec, 2, 16, 0)
    with torch.no_grad():
        start = codec.encode(batch.image)
        residual = codec.encode(codec.picture(start)) - start
        ratios = cocoercivity(codec.scaling.scale(residual), codec.scaling.scale(start - batch.latent))
    assert worst == pytest.approx(float(ratios.min()), rel=1e-3)
    assert middle == pytest.approx(float(ratios.mean()), rel=1e-3)
