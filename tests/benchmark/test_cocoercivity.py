import csv
import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from decinv.batch import Batch
from decinv.benchmark.__main__ import main
from decinv.benchmark.cocoercivity.command import FOLLOWED, measure
from decinv.benchmark.cocoercivity.ratios import Ratios, Reference, ratios
from decinv.benchmark.cocoercivity.report import CONVERGED, LAST, TRUTH, Key, correlation, ranks, summarise
from decinv.benchmark.cocoercivity.visited import visit
from decinv.benchmark.figures.scatter import RED, Panel, draw_scatters
from decinv.benchmark.measuring.methods import DecoderMethod
from decinv.codecs import LinearCodec
from decinv.problems import DecoderProblem
from decinv.updates import ForwardStep

LOWEST, HIGHEST = 0.5, 1.25


@pytest.fixture
def codec():
    return LinearCodec((LOWEST, 0.8, 1.0, HIGHEST), scaling_factor=0.5, shift_factor=0.2)


@pytest.fixture
def batch(codec):
    latent = 0.3 * torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    return Batch(codec.decode(latent), ("a", "b", "c"), latent)


def _forward(step_size):
    return DecoderMethod("forward", DecoderProblem, partial(ForwardStep, lr=step_size))


def test_a_sample_that_blows_up_has_ratios_against_the_truth_alone(codec, batch):
    path = visit(_forward(20.0), codec, batch.image, window=5, steps=9)
    size = torch.ones(3)
    truth = codec.scaling.apply(batch.latent)
    against_last = ratios(path, Reference(path.last, path.last_residual, 1e-3 * size), truth, size)
    assert against_last.smallest.isnan().all()
    assert against_last.distance.isnan().all()
    against_truth = ratios(path, Reference(truth, torch.zeros_like(truth), 1e-3 * size), truth, size)
    assert against_truth.smallest.isfinite().all()
    assert against_truth.distance.isfinite().all()


def test_ratios_of_a_linear_codec_lie_between_the_inverse_eigenvalues(codec, batch):
    words = []
    found = {(a, b): c for a, b, c in measure(codec, batch, 8, 40, 1e-3, words.append)}
    assert len(words) == len(FOLLOWED)
    assert set(found) == {(r, one.method.name) for r in (LAST, CONVERGED, TRUTH) for one in FOLLOWED}
    for part in found.values():
        seen = part.smallest[part.used > 0]
        assert ((seen >= 1 / HIGHEST - 1e-3) & (seen <= 1 / LOWEST + 1e-3)).all()
        assert part.smallest[part.used == 0].isnan().all()
    assert all(found[TRUTH, one.method.name].used.min() > 0 for one in FOLLOWED)
    assert found[CONVERGED, "forward step 1"].reference_residual.max() < 1e-5
    assert found[LAST, "forward step 0.001"].reference_residual.min() > 1e-2


def test_one_eigenvalue_gives_its_inverse_and_the_floor_leaves_points_out():
    codec = LinearCodec((0.8,) * 4)
    latent = 0.3 * torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    image = codec.decode(latent)
    path = visit(_forward(1.0), codec, image, window=9, steps=9)
    length = codec.encode(image).flatten(1).norm(dim=1)
    # T(z_k) = 0.2^k T(z_0), and |T(z_0)| = 0.2 |E(x)|: of z_0 to z_9 those to k = 3 are above 0.2^4.5 |E(x)|.
    found = ratios(path, Reference(latent, torch.zeros_like(latent), 0.2**4.5 * length), latent, length)
    torch.testing.assert_close(found.smallest, torch.full((2,), 1 / 0.8), atol=1e-3, rtol=0)
    assert found.used.tolist() == [4, 4]
    assert found.distance.max() < 1e-6
    assert found.reference_residual.tolist() == [0, 0]


def test_summary_of_known_values():
    part = Ratios(
        torch.tensor([0.1, 0.2, 0.3, 0.4, torch.nan]),
        torch.tensor([5, 5, 5, 1, 0]),
        torch.tensor([4.0, 3.0, 2.0, -9.0, 1.0]),
        torch.full((5,), -20.0),
        torch.tensor([1e-3, 2e-3, 3e-3, 4e-3, 5e-3]),
    )
    row = summarise(Key("r", "c", "m", 4, 0.25), part)
    assert (row["images"], row["points"], row["share"], row["positive"]) == (4, 4.0, 0.5, 1.0)
    assert [row[key] for key in ("lower_quartile", "median", "upper_quartile", "worst")] == pytest.approx(
        [0.175, 0.25, 0.325, 0.1]
    )
    assert (row["distance"], row["residual"]) == (2.5, pytest.approx(3e-3))  # of four and of five values
    assert row["spearman"] == pytest.approx(-1)
    assert row["pearson"] == pytest.approx(np.corrcoef([0.1, 0.2, 0.3, 0.4], [4, 3, 2, -9])[0, 1])
    empty = summarise(Key("r", "c", "m", 4, None), part._replace(smallest=torch.full((5,), torch.nan)))
    assert (empty["images"], empty["median"], empty["share"], empty["pearson"]) == (0, None, None, None)


def test_ranks_and_correlations():
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 7.0])).tolist() == [1.5, 0, 1.5, 3]
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 5.0, 5.0])) is None
    assert correlation(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])) is None
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])) == pytest.approx(1)


def test_the_command_writes_everything(tmp_path, saved, capsys):
    out, codecs = tmp_path / "out", f"[{saved('dc')},{saved('tiny')}]"
    options = [f"--codecs={codecs}", "--count=3", "--size=16", "--batch_size=2", "--steps=2", "--long=3", "--device=cpu"]
    assert main(["cocoercivity", f"--out={out}", *options]) == 0
    assert "Spearman" in capsys.readouterr().out
    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [one.method.name for one in FOLLOWED]
    expected = [(c, r, n) for c in ("dc", "tiny") for r in (LAST, CONVERGED, TRUTH) for n in names]
    assert [(row["codec"], row["reference"], row["method"]) for row in rows] == expected
    assert [row["window"] for row in rows[:5]] == ["2", "2", "1", "2", "2"]
    with (out / "images.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3 * len(rows)
    assert json.loads((out / "environment.json").read_text())["options"]["long"] == 3
    assert "no fixed point" in (out / "table.md").read_text()
    with Image.open(out / "cocoercivity.png") as image:
        assert min(image.size) > 500
    assert main(["cocoercivity", f"--out={out}", *options]) == 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--count=1", "`count`"),
        ("--long=100", "`long` more than `steps`"),
        ("--floor=0", "`floor`"),
        ("--size=17", "multiple"),
        ("--codecs=[]", "`codecs`"),
        ("--codecs=[bundled,bundled]", "another name"),
    ],
)
def test_bad_options_are_named(tmp_path, capsys, option, message):
    assert main(["cocoercivity", f"--out={tmp_path / 'out'}", "--device=cpu", option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_panel_has_its_line(tmp_path):
    panel = Panel([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], [-10.0, -20.0, -30.0], mark=0.5)
    empty = Panel([], [], [])
    path = tmp_path / "figure.png"
    draw_scatters([[panel, panel], [panel, empty]], ["a", "b"], ["c", "d"], "x", "y", "dB", "title", "caption", path)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    red = np.abs(pixels - [int(RED[i : i + 2], 16) for i in (1, 3, 5)]).sum(-1) < 30
    middle, centre = red.shape[0] // 2, red.shape[1] // 2
    quarters = [red[:middle, :centre], red[:middle, centre:], red[middle:, :centre], red[middle:, centre:]]
    assert [bool(quarter.any()) for quarter in quarters] == [True, True, True, False]
    border = np.concatenate([pixels[:, :4].ravel(), pixels[:, -4:].ravel(), pixels[:4].ravel(), pixels[-4:].ravel()])
    assert (border == 255).all()
