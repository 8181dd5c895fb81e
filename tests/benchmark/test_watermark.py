import csv
import json
import math

import pytest
import torch

from decinv.benchmark.__main__ import main
from decinv.benchmark.maker import Maker
from decinv.benchmark.watermark.images import generate
from decinv.benchmark.watermark.prompts import default_prompts
from decinv.benchmark.watermark.report import summarise
from decinv.codecs import load_codec
from decinv.diffusion import DDIM, DiffusersPipeline
from decinv.watermark import Finding, ThreeKeys, TreeRingKey

SMALL = ["--count=2", "--size=16", "--steps=1", "--iterations=1", "--ours=1", "--sampler_iters=1", "--threads=1"]


@pytest.fixture(scope="module")
def path(saved_pipeline):
    return str(saved_pipeline("stable")[0])


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_combination_has_its_row(tmp_path, path):
    attacks = "{jpeg: {class_path: Jpeg, init_args: {quality: 50}}}"
    assert main(["watermark", f"--out={tmp_path}", f"--pipeline={path}", f"--attacks={attacks}", "--device=cpu", *SMALL]) == 0
    table = rows(tmp_path / "table.csv")
    decoders = ["encoder", "gradient Adam 0.1 cosine", "paper Adam 0.01", "Anderson", "Anderson, 10 gradient steps"]
    expected = [(a, d, s) for a in ("jpeg",) for d in decoders for s in ("naive", "exact")]
    assert [(row["attack"], row["decoder"], row["sampler"]) for row in table] == expected
    for row in table:
        assert int(row["marked"]) == 6
        assert 0 <= int(row["right"]) <= 6
        assert 0 <= int(row["right_by_correlation"]) <= 6
        assert 0 <= float(row["auc_low"]) <= float(row["auc"]) <= float(row["auc_high"]) <= 1
        assert float(row["decoder_seconds"]) > 0
    confusion = rows(tmp_path / "confusion.csv")
    assert len(confusion) == 3 * len(table)
    assert all(sum(int(row[f"read as {key}"]) for key in range(3)) == 2 for row in confusion)
    options = json.loads((tmp_path / "environment.json").read_text())["options"]
    assert options["attacks"]["jpeg"] == "Jpeg(quality=50)"
    assert options["prompts"] == list(default_prompts(path, 2))
    assert (tmp_path / "watermark.png").is_file()


def test_decoders_samplers_and_prompts_can_be_chosen(tmp_path, path):
    chosen = [
        "--decoders=[Anderson]",
        "--samplers=[exact]",
        "--attacks={none: {class_path: InTurn}}",
        "--prompts=[a fox]",
        "--device=cpu",
    ]
    assert main(["watermark", f"--out={tmp_path}", f"--pipeline={path}", *chosen, *SMALL]) == 0
    assert [(row["decoder"], row["sampler"]) for row in rows(tmp_path / "table.csv")] == [("Anderson", "exact")]
    assert json.loads((tmp_path / "environment.json").read_text())["options"]["prompts"] == ["a fox"]


def test_images_of_all_marks_share_noise_and_prompts(path):
    codec = load_codec(path)
    maker = Maker(DiffusersPipeline(path), codec, DDIM(2), 3.0, ["a red circle", "a blue square"], 16)
    mark = ThreeKeys(maker.shape)
    chunks = generate(maker, mark, 3, 5, seed=1)
    noise, which = torch.cat([chunk.noise for chunk in chunks]), torch.cat([chunk.which for chunk in chunks])
    assert which.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [-1] * 3
    assert [finding.mark for finding in mark.find(noise[:9])] == which[:9].tolist()
    assert torch.equal(noise[0, 1:], noise[3, 1:])
    assert not torch.equal(noise[0, 1:], noise[9, 1:])
    prompts = [prompt for chunk in chunks for prompt in chunk.prompts]
    assert prompts == ["a red circle", "a blue square", "a red circle"] * 4
    image = torch.cat([chunk.image for chunk in chunks])
    alone = generate(maker, mark, 3, 12, seed=1)[0]
    assert float((alone.image - image).abs().max()) < 2.1 / 255
    with pytest.raises(ValueError, match="multiple"):
        Maker(DiffusersPipeline(path), codec, DDIM(2), 3.0, [""], 17)


def test_findings_become_rates():
    findings = [
        Finding(0, "k", 0.01, True, 0.9, 0.5, likeliest=1),
        Finding(0, "k", 0.2, False, 0.5, 0.1, likeliest=1),
        Finding(1, "k", 0.04, True, 0.7, 0.3, likeliest=1),
    ]
    row = summarise(
        *("none", "encoder", 0, "naive", findings, torch.tensor([0, 1, -1]), 2),
        *(torch.tensor([-10.0, -20.0, 0.0]), torch.tensor([-1.0, -3.0, 0.0]), 1.0, 2.0, 3.0),
    )
    assert (row.right, row.right_by_correlation, row.marked, row.auc, row.tpr_1, row.alarms) == (1, 1, 2, 0.5, 0.5, 1.0)
    assert (row.noise_nmse_db, row.latent_nmse_db) == (-2.0, -15.0)
    assert row.confusion == ((1, 0), (1, 0))
    unknown = [Finding(-1, "", None, None, -math.inf), *findings[1:]]  # whose noise is not finite
    row = summarise(
        "none", "encoder", 0, "naive", unknown, torch.tensor([0, 1, -1]), 2, torch.zeros(3), torch.zeros(3), 1.0, 2.0, 3.0
    )
    assert (row.right, row.marked, row.tpr_1, row.confusion) == (0, 2, 0.0, ((0, 0), (1, 0)))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--ours=0", "iterations"),
        ("--rtol=-1", "`rtol`"),
        ("--count=1", "`count`"),
        ("--keys=[/no/key]", "file of a key"),
        ("--decoders=[x]", "Anderson, squares; Anderson; "),
        ("--decoders=[encoder,encoder]", "`decoders` to be different"),
        ("--samplers=[fast]", "`samplers`"),
        ("--samplers=[]", "`samplers`"),
        ("--prompts=[]", "a prompt"),
        ("--attacks={}", "at least one of `attacks`"),
    ],
)
def test_bad_options_are_named(tmp_path, path, capsys, option, message):
    assert main(["watermark", f"--out={tmp_path / 'out'}", f"--pipeline={path}", *SMALL, option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_keys_of_another_shape_are_refused_at_once(tmp_path, path, capsys):
    TreeRingKey.make((4, 5, 5), 0, 2, seed=0).save(tmp_path / "key")
    assert main(["watermark", f"--out={tmp_path / 'out'}", f"--pipeline={path}", *SMALL, f"--keys=[{tmp_path / 'key'}]"]) == 2
    assert "Expected keys of shape (4, " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_flow_is_refused_at_once(tmp_path, capsys):
    assert main(["watermark", f"--out={tmp_path / 'out'}", "--pipeline=bundled-flow", *SMALL]) == 2
    error = capsys.readouterr().err
    assert "Expected `pipeline` to be a model that DDIM samples, but got 'bundled-flow' with FlowMatchEuler" in error
    assert not (tmp_path / "out" / "environment.json").exists()
