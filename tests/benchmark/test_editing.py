import csv

import pytest
import torch

from decinv.benchmark.__main__ import main
from decinv.benchmark.editing.images import Edited, Inversion, edit, generate, recover_latent
from decinv.benchmark.editing.report import summarise
from decinv.benchmark.maker import Maker
from decinv.codecs import LinearCodec
from decinv.diffusion import DDIM, DiffusersPipeline
from decinv.methods import ExactInversion

SMALL = ["--count=2", "--size=16", "--steps=2", "--iterations=2", "--sampler_iters=3", "--threads=1", "--device=cpu"]


@pytest.fixture(scope="module")
def path(saved_pipeline):
    return str(saved_pipeline("stable")[0])


def test_every_inversion_has_its_row(tmp_path, path):
    assert main(["editing", f"--out={tmp_path}", f"--pipeline={path}", "--guidances=[3]", *SMALL]) == 0
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["oracle", "exact, true latents", "exact", "naive, decoder inversion", "naive"]
    assert [(row["guidance"], row["inversion"]) for row in rows] == [("3", name) for name in names]
    assert all(row["noise_nmse_db"] == "" for row in rows[:1])
    assert all(float(row["background_nmse"]) >= 0 for row in rows)
    assert {"table.md", "editing.png", "examples.png", "environment.json"} <= {file.name for file in tmp_path.iterdir()}


def test_true_latents_inverted_exactly_give_the_edits_of_the_oracle(path):
    maker = Maker(DiffusersPipeline(path), LinearCodec(), DDIM(2), 2.0, ["a red circle"], 16)
    original = generate(maker, ["a blue square"], range(2), seed=0)
    original = original._replace(mask=torch.zeros_like(original.mask))
    original.mask[:, :, 1:3, 1:3] = True
    latent = recover_latent(maker.codec, original, None)
    oracle = edit(maker, original, Inversion("oracle", None, None), latent, None)
    found = edit(maker, original, Inversion("exact", None, ExactInversion()), latent, oracle.image)
    assert found.noise_nmse_db.max() < -60
    assert found.oracle_psnr_db.min() > 45
    assert oracle.latent_nmse_db.max() < -100
    assert found.latent_nmse_db.max() < -60
    assert oracle.background_nmse.max() == 0  # a linear decoder keeps cells apart, and rounds alike
    again = edit(maker, original._replace(noise=original.noise + 0.1), Inversion("oracle", None, None), latent, oracle.image)
    assert again.background_nmse.min() > 0


def test_measures_become_rows():
    nan = float("nan")
    values = torch.tensor([0.1, 0.3, nan]), torch.tensor([10.0, 20.0, nan]), torch.tensor([0.5, 0.7, nan])
    values += (torch.tensor([-20.0, -40.0, nan]),)
    values += torch.tensor([30.0] * 3), torch.tensor([-10.0] * 3), torch.ones(3)
    row = summarise(3.0, "naive", Edited(torch.empty(3, 0), *values))
    assert (row.guidance, row.background_nmse, row.background_psnr_db) == ("3", pytest.approx(0.2), 15.0)
    assert (row.background_median, row.noise_nmse_db, row.seconds) == (pytest.approx(0.2), -10.0, 1.0)
    assert row.latent_nmse_db == -30
    assert row.background_db == pytest.approx(-7.614, abs=1e-3)  # (-10 - 5.229) / 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--targets=[a]", "`targets`"),
        ("--size=8", "`size`"),
        ("--size=17", "`size`"),
        ("--count=1", "`count`"),
        ("--guidances=[3, -1]", "`guidances`"),
        ("--guidances=[3, 3]", "`guidances` to be at least 0 and different"),
        ("--steps=0", "`steps`"),
    ],
)
def test_bad_options_are_named(tmp_path, path, capsys, option, message):
    assert main(["editing", f"--out={tmp_path / 'out'}", f"--pipeline={path}", *SMALL, option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_flow_is_refused_at_once(tmp_path, capsys):
    assert main(["editing", f"--out={tmp_path / 'out'}", "--pipeline=bundled-flow", *SMALL]) == 2
    error = capsys.readouterr().err
    assert "Expected `pipeline` to be a model that DDIM samples, but got 'bundled-flow' with FlowMatchEuler" in error
    assert not (tmp_path / "out" / "environment.json").exists()
