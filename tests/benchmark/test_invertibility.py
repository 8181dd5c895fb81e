import csv
import json

import pytest
import torch
from PIL import Image

from decinv.benchmark.__main__ import main
from decinv.benchmark.invertibility.report import Spectrum, codec_row
from decinv.metrics.conditioning import ROUNDING


def test_a_run_writes_table_and_figure(saved, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--codecs", f"[{saved('kl')}]", "--count", "2", "--size", "16", "--iterations", "3", "--directions", "1"]
    assert main(["invertibility", "--out", str(out), *options]) == 0
    (row,) = csv.DictReader((out / "table.csv").read_text().splitlines())
    assert row["codec"] == "kl"
    assert float(row["condition"]) > 1
    assert float(row["prior_db"]) <= min(float(row["pixels_db"]), float(row["encoder_db"]) + 1e-3)
    assert json.loads((out / "environment.json").read_text())["options"]["iterations"] == 3
    with Image.open(out / "spectrum.png") as figure:
        assert figure.width > 800
    assert "kl" in capsys.readouterr().out
    assert main(["invertibility", "--out", str(out), *options]) == 2  # it is there already


@pytest.mark.parametrize("option", ["iterations", "directions"])
def test_counts_are_checked(tmp_path, capsys, option):
    assert main(["invertibility", "--out", str(tmp_path), f"--{option}", "0"]) == 2
    assert "Expected `iterations` and `directions` to be at least 1" in capsys.readouterr().err


def test_a_row_is_the_mean_of_images():
    """Half of the directions show, as strongly as the prior knows them."""
    spread = torch.tensor([0.1, 0.2])
    singular = torch.tensor([[1.0, 0.0], [1.0, 0.0]]) * (ROUNDING / spread)[:, None]
    part = Spectrum(singular, spread, *(torch.tensor([-10.0, -20.0 - index]) for index in range(4)))
    row = codec_row("codec", part)
    assert row.shown == pytest.approx(0.25)
    assert (row.encoder_db, row.default_db, row.pixels_db, row.prior_db) == (-15.0, -15.5, -16.0, -16.5)


def test_the_condition_is_that_of_the_median_image():
    singular = torch.tensor([[2.0, 1.0], [8.0, 1.0]])
    assert codec_row("codec", Spectrum(singular, *(torch.ones(2) for _ in range(5)))).condition == 5
