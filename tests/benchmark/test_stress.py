import csv
import inspect
import json
import shutil
from dataclasses import replace
from functools import cache

import pytest
import torch
from PIL import Image

import decinv.benchmark.stress.command as stress_module
from decinv.batch import Batch
from decinv.benchmark.__main__ import main
from decinv.benchmark.conditions import Conditions
from decinv.benchmark.stress.cases import Case, cases_of, fixed_cases
from decinv.benchmark.stress.command import METHODS, run_case, stress
from decinv.benchmark.stress.impaired import ChannelMap, ImpairedCodec
from decinv.benchmark.stress.measure import WatchedProblem, largest_rise, measure_start, measure_stress
from decinv.codecs import LinearCodec

FORWARD, _, DEFAULT = METHODS
CHOSEN = ("rotated by 90°", "constant")


def _linear(factor=1.0, eigenvalues=(1.0,) * 4):
    """A linear codec with an encoder scaled by a factor, and exact images of known latents."""
    inner = LinearCodec(eigenvalues)
    latent = 0.3 * torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    codec = ImpairedCodec(inner, ChannelMap(factor * torch.eye(4)))
    return codec, Batch(codec.decode(latent), ("a", "b"), latent)


def _measure(codec, batch, method, marks):
    return measure_stress("codec", codec, batch, method, measure_start(codec, batch), marks)


@pytest.fixture(scope="module")
def run(tmp_path_factory, saved):
    """One small run on two codecs and few of the cases: its directory and its arguments."""
    out = tmp_path_factory.mktemp("run") / "new"
    copy = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(saved("kl"), copy)
    threads = torch.get_num_threads()
    args = ["stress", f"--out={out}", f"--codecs=[{saved('kl')},{copy}]", "--device=cpu", "--count=2", "--size=16"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stress_module, "cases_of", lambda path: [case for case in cases_of(path) if case.name in CHOSEN])
        patch.setattr(stress_module, "fixed_cases", lambda: fixed_cases()[-1:])
        assert main([*args, "--marks=[1,2]", "--threads=1"]) == 0
    torch.set_num_threads(threads)
    return out, args


def test_every_codec_has_a_row_for_every_method(run):
    with (run[0] / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [f"{codec}, {name}" for codec in ("kl", "copy") for name in CHOSEN] + [fixed_cases()[-1].name]
    assert [(row["codec"], row["method"]) for row in rows] == [(name, method.name) for name in names for method in METHODS]
    constant = next(row for row in rows if row["codec"] == "kl, constant")
    assert constant["cocoercivity"] == "inf"
    assert float(constant["residual_end"]) == 0


def test_every_case_makes_a_codec(saved, images):
    cases = [*cases_of(str(saved("kl"))), *fixed_cases()]
    assert len({case.name for case in cases}) == len(cases)
    source = cache(lambda make: make())
    for case in cases:
        codec = case.codec()
        latent = codec.encode(images(1, 16, 16))
        assert latent.isfinite().all(), case.name
        if case.source is not None:
            assert torch.equal(codec.decode(latent), source(case.source).decode(latent)), case.name


def test_the_files_are_there(run):
    environment = json.loads((run[0] / "environment.json").read_text())
    assert set(environment["options"]) == set(inspect.signature(stress).parameters)
    assert "rotated by 90°" in (run[0] / "table.md").read_text(encoding="utf-8")
    with Image.open(run[0] / "stress.png") as image:
        assert image.format == "PNG"


def test_a_second_run_is_refused(run, capsys):
    assert main(run[1]) == 2
    assert "holds a table.csv already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--count=1", "`count`"),
        ("--marks=[5,5]", "`marks`"),
        ("--marks=[101]", "`marks`"),
        ("--codecs=[]", "`codecs`"),
        ("--size=17", "multiple"),
    ],
)
def test_bad_options_are_named(tmp_path, capsys, option, message):
    assert main(["stress", f"--out={tmp_path / 'out'}", option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_forward_step_follows_its_closed_form():
    codec, batch = _linear(1.5)
    row = _measure(codec, batch, FORWARD, (1, 3))
    # E(D(z)) = 1.5 z, so that e_0 = 0.5 z*, and the point after k - 1 steps has the error (1 - 1.5)^(k - 1) e_0.
    db = {mark: 20 * torch.log10(torch.tensor(0.5**mark)).item() for mark in (1, 3)}
    assert row.start_db == pytest.approx(db[1], abs=1e-3)
    assert row.nmse_db == pytest.approx(db, abs=1e-3)
    assert row.worst_db == pytest.approx(db, abs=1e-3)
    assert row.worst_change == pytest.approx(0, abs=1e-3)
    assert row.drift == 0
    assert row.outcomes == "2 CONVERGED"
    assert row.residual_start == pytest.approx(0.5)
    assert row.residual_end < 1e-5
    assert row.cocoercivity == pytest.approx(1 / 1.5)
    assert row.psnr_end > 90 > row.psnr_start


def test_a_forward_step_that_diverges_reports_the_encoder_and_the_default_converges():
    codec, batch = _linear(3.0)
    forward, default = (_measure(codec, batch, method, (5, 20)) for method in (FORWARD, DEFAULT))
    assert forward.outcomes == "2 DIVERGED"
    assert forward.stopped_change == pytest.approx(0, abs=1e-3)
    assert default.outcomes == "2 CONVERGED"
    assert default.stopped_change < -60


def test_cocoercivity_is_noted_for_the_samples_that_still_run_until_the_residual_is_small():
    codec, batch = _linear(1.0, (0.5,) * 4)
    problem = WatchedProblem(codec, batch)
    truth = codec.scaling.apply(batch.latent)
    assert problem.smallest == torch.inf
    problem.evaluate(truth + 1)
    assert problem.smallest == pytest.approx(2.0)
    problem.select(torch.tensor([1]))
    problem.target = problem.target + 0.01
    problem.evaluate(truth[1:] + 0.01)  # the residual is below a tenth of the first
    assert problem.smallest == pytest.approx(2.0)
    problem.evaluate(truth[1:] - 1)
    assert problem.smallest == pytest.approx(0.51 / 0.51**2, rel=1e-3)


def test_largest_rise():
    assert largest_rise([]) == largest_rise([3.0]) == largest_rise([3.0, 2.0, -1.0]) == 0
    assert largest_rise([0.0, -3.0, -1.0, -2.0]) == 2.0


def test_codecs_that_differ_in_their_encoders_see_the_same_images():
    class Logged(LinearCodec):
        seen = []

        def _encode(self, image):
            self.seen.append(image)
            return super()._encode(image)

    targets = []
    for factor in (1.0, 3.0):
        Logged.seen = []
        case = Case("a", lambda f=factor: ImpairedCodec(Logged(), ChannelMap(f * torch.eye(4))), LinearCodec)
        run_case("a", case, Conditions(["a"], "float32", "cpu", 2, 8, 2, 0, 0.1, None), (1,))
        targets.append(Logged.seen[0])
    assert torch.equal(*targets)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"count": 1}, {"threads": 0}], ids=lambda wrong: next(iter(wrong)))
def test_conditions_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"Expected .*`{next(iter(wrong))}`"):
        replace(Conditions(["a"], "float32", "cpu", 2, 8, 2, 0, 0.1, None), **wrong)
