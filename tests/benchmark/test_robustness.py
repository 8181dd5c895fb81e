import csv
import json
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

import decinv.benchmark.robustness.command as robustness_module
from decinv.batch import Batch
from decinv.benchmark.__main__ import main
from decinv.benchmark.figures.dots import Series, draw_dots
from decinv.benchmark.figures.figure import looks
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT, GRADIENT
from decinv.benchmark.robustness.command import DISTORTIONS, RUNS, Recovered, distort, join, recover
from decinv.benchmark.robustness.report import Row, series
from decinv.codecs import LinearCodec, load_codec
from decinv.data.generated import generate
from decinv.images.distortions import brighten, compose, noise
from decinv.metrics import nmse_db, psnr_db


def test_recovered_is_the_inverse_of_the_distorted_image():
    # The linear codec's solution is Q^T x, of the distorted x.
    # (The default leaves the last bit: what no latent makes counts as noise.)
    codec = LinearCodec((0.8, 0.9, 1.0, 1.1), scaling_factor=0.5, shift_factor=0.2)
    latent = 0.2 * torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    clean = codec.decode(latent)
    distorted = brighten(clean, 0.1)
    found = recover(BY_NAME["forward step 1"], codec, Batch(distorted, ("a", "b", "c"), latent), clean, (1, 30))
    assert list(found) == [1, 30]
    solution = codec.fixed_point(distorted)
    scaled, decoded = codec.scaling.apply, codec.decode(solution).clamp(-1, 1)
    torch.testing.assert_close(found[30].nmse_db, nmse_db(scaled(solution), scaled(latent)), atol=0.01, rtol=0)
    torch.testing.assert_close(found[30].psnr_distorted_db, psnr_db(decoded, distorted), atol=0.01, rtol=0)
    torch.testing.assert_close(found[30].psnr_clean_db, psnr_db(decoded, clean), atol=0.01, rtol=0)


def test_summary_of_known_values():
    parts = [
        Recovered(torch.tensor(values), torch.tensor(values) + 40, torch.tensor(values) + 50)
        for values in ([-10.0, -20.0], [-30.0])
    ]
    row = join("c", "d", "m", 5, parts)
    assert (row.nmse_db, row.nmse_db_worst, row.psnr_distorted_db, row.psnr_clean_db) == (-20, -10, 20, 30)
    assert row.nmse_db_half_width == pytest.approx(1.96 * 10 / 3**0.5, rel=1e-3)


def test_the_command_writes_everything(tmp_path, saved, capsys, monkeypatch):
    few = {"none": compose(), "bright": partial(brighten, shift=0.2)}
    monkeypatch.setattr(robustness_module, "DISTORTIONS", few)
    monkeypatch.setattr(robustness_module, "RUNS", (("encoder", (0,)), (DEFAULT, (1, 2))))
    out, codecs = tmp_path / "out", [str(saved("kl")), str(saved("tiny"))]
    options = [f"--codecs=[{','.join(codecs)}]", "--count=3", "--size=16", "--batch_size=2", "--device=cpu"]
    assert main(["robustness", f"--out={out}", *options]) == 0
    assert "PSNR clean" in capsys.readouterr().out
    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    runs = [("encoder", "0"), (DEFAULT, "1"), (DEFAULT, "2")]
    found = [(row["codec"], row["distortion"], row["method"], row["iterations"]) for row in rows]
    assert found == [(saved(name).name, title, *run) for name in ("kl", "tiny") for title in few for run in runs]

    codec, scaled = load_codec(codecs[0]), load_codec(codecs[0]).scaling.apply
    batch = generate(codec, 3, 16)
    for row, distortion in zip(rows[::3], few.values(), strict=False):
        latent = codec.encode(distortion(batch.image))
        decoded = codec.decode(latent).clamp(-1, 1)
        assert float(row["nmse_db"]) == pytest.approx(float(nmse_db(scaled(latent), scaled(batch.latent)).mean()), abs=1e-3)
        assert float(row["psnr_clean_db"]) == pytest.approx(float(psnr_db(decoded, batch.image).mean()), abs=1e-3)
        expected = psnr_db(decoded, distortion(batch.image)).mean()
        assert float(row["psnr_distorted_db"]) == pytest.approx(float(expected), abs=1e-3)
    assert rows[0]["psnr_distorted_db"] == rows[0]["psnr_clean_db"]
    assert json.loads((out / "environment.json").read_text())["options"]["codecs"] == codecs
    with Image.open(out / "robustness.png") as image:
        assert min(image.size) > 500
    assert main(["robustness", f"--out={out}", *options]) == 2


def test_noise_differs_from_chunk_to_chunk():
    chunks = [Batch(torch.zeros(count, 3, 8, 8), tuple("abc"[:count]), torch.zeros(count, 4, 1, 1)) for count in (2, 1)]
    found = distort(partial(noise, std=0.1), chunks)
    assert [(len(chunk.image), chunk.names) for chunk in found] == [(2, ("a", "b")), (1, ("a",))]
    together = torch.cat([chunk.image for chunk in found])
    torch.testing.assert_close(together, noise(torch.zeros(3, 3, 8, 8), 0.1))
    assert (together[0] != together[2]).any()


def test_bad_options_are_named(tmp_path, capsys):
    for option, message in (("--count=1", "`count`"), ("--size=17", "multiple"), ("--codecs=[]", "`codecs`")):
        assert main(["robustness", f"--out={tmp_path / 'out'}", "--device=cpu", option]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_distortions_have_names_of_their_own_and_the_methods_exist():
    assert len(DISTORTIONS) == 10
    assert all(name in BY_NAME for name, _ in RUNS)
    assert sum(marks[-1] for name, marks in RUNS if name != GRADIENT) == 200  # as the help says


def test_series_are_methods_and_numbers_of_iterations():
    rows = [Row(d, "c", m, k, 10.0 * k, 1, 0, 0, 0) for d in "ab" for m, k in (("encoder", 0), (DEFAULT, 5), (DEFAULT, 20))]
    found = series(rows)
    assert [one.label for one in found] == ["encoder", f"{DEFAULT}, 5", f"{DEFAULT}, 20"]
    assert [one.values for one in found] == [[0, 0], [50, 50], [200, 200]]
    assert [one.emphasised for one in found] == [False, True, True]


def test_any_number_of_methods_has_looks_of_their_own(tmp_path):
    own = [Series(f"method {i}", [-1.0 * i], [0.1]) for i in range(14)]
    draw_dots({r"codec: $\no formula$": own}, [r"$\nor$"], "dB", "title", r"$\this$", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").exists()
    assert len(set(islice(looks(), 36))) == 36
    assert len({colour for colour, _ in islice(looks(), 12)}) == 12  # as many as the figure of samplers has


def test_the_figure_is_whole(tmp_path):
    own = [Series(f"a rather long name of a method {i}", [-1.0, -2.0 - i], [0.1, 0.2], emphasised=i > 2) for i in range(6)]
    path = tmp_path / "figure.png"
    draw_dots({"one": own, "two": own}, ["none", "JPEG 95"], "dB", "title", "caption", path)
    pixels = np.asarray(Image.open(path).convert("L"))
    border = np.concatenate([pixels[:, :4].ravel(), pixels[:, -4:].ravel(), pixels[:4].ravel(), pixels[-4:].ravel()])
    assert (border == 255).all()
    assert (pixels == 0).sum() > 200
