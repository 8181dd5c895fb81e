import csv
import inspect
import json
import re
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from decinv.benchmark.__main__ import main
from decinv.benchmark.decoder.command import decoder
from decinv.benchmark.measuring.methods import DEFAULT, METHODS
from decinv.benchmark.measuring.published import PUBLISHED
from decinv.codecs import load_codec
from decinv.data.generated import generate
from decinv.metrics import nmse_db


@pytest.fixture(scope="module")
def codec_path(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("codec")
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    AutoencoderKL(block_out_channels=[8, 8], latent_channels=4, norm_num_groups=4, **blocks).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory, codec_path, saved):
    """One small run: its directory and its arguments."""
    out = tmp_path_factory.mktemp("run") / "new" / "directory"
    threads = torch.get_num_threads()
    small = {
        "codecs": f"[{saved('dc')},{codec_path}]",
        "dtypes": "[float32,bfloat16]",
        "count": 3,
        "size": 16,
        "batch_size": 2,
        "marks": "[2]",
        "early": "[1]",
        "published": "[2]",
        "threads": 1,
    }
    args = ["decoder", f"--out={out}", "--device=cpu", *(f"--{name}={value}" for name, value in small.items())]
    assert main(args) == 0
    torch.set_num_threads(threads)
    return out, args


def _rows(out):
    with (out / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_method_has_its_rows(run, codec_path):
    rows = _rows(run[0])
    free = [method.name for method in METHODS if method.rule and not method.scheduled]
    own = [method.name for method in METHODS if method.rule]
    loops = [method.name for method in PUBLISHED]
    expected = [("0", "encoder", "float32"), ("0", "encoder", "bfloat16")]
    expected += [("1", name, dtype) for dtype in ("float32", "bfloat16") for name in free]
    expected += [("2", name, "float32") for name in own + loops] + [("2", name, "bfloat16") for name in own + loops[:1]]
    names = ["dc", Path(codec_path).name]
    assert [(row["codec"], row["iterations"], row["method"], row["dtype"]) for row in rows] == [
        (name, *key) for name in names for key in expected
    ]
    for row in rows:
        k, gradient = int(row["iterations"]), "gradient" in row["method"]
        work = [float(row[key]) for key in ("decodes", "encodes", "backwards")]
        mixed = row["method"] == "gradient Anderson"  # it looks at E(D(z)) too, and probes its step size with a decode
        assert work == ([k + 1, k + 1, k] if mixed else [k, 1, k] if gradient else [k, k + 1, 0])
        assert all(float(row[key]) > 0 for key in ("seconds", "peak_mib", "peak_passes"))
        assert bool(row["relative_seconds"]) == (k == 2)


def test_encoder_rows_are_the_direct_computation_on_the_same_images(run, codec_path):
    exact, short = load_codec(codec_path), load_codec(codec_path, "bfloat16")
    batch = generate(exact, 3, 16)
    scaled = exact.scaling.apply
    rows = [row for row in _rows(run[0]) if row["codec"] != "dc" and row["method"] == "encoder"]
    means = [float(nmse_db(scaled(codec.encode(batch.image)), scaled(batch.latent)).mean()) for codec in (exact, short)]
    assert [float(row["nmse_db"]) for row in rows] == pytest.approx(means, abs=1e-3)
    assert [float(row["nmse_db_to_float32"]) for row in rows] == pytest.approx([0, means[1] - means[0]], abs=1e-3)
    assert means[0] != means[1]


def test_gradients_take_more_memory(run):
    peak = {row["method"]: float(row["peak_passes"]) for row in _rows(run[0]) if row["dtype"] == "float32"}
    assert peak["gradient Adam 0.01"] > 1.5 * peak["forward step 1"]
    assert peak["published loop, gradient Adam 0.1 cosine"] > peak["gradient Adam 0.1 cosine"]


def test_markdown_shows_the_csv(run):
    text = (run[0] / "table.md").read_text().split("## ")
    assert [part.split("\n")[0] for part in text[1:]] == ["Time at the same NMSE", "As published"]
    lines = [line for line in text[0].splitlines() if line.startswith("|")][2:]
    shown = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    rows = _rows(run[0])
    assert [cells[:4] for cells in shown] == [[row[key] for key in ("codec", "iterations", "method", "dtype")] for row in rows]
    assert [float(cells[4]) for cells in shown] == pytest.approx([float(row["nmse_db"]) for row in rows], abs=0.0051)


def test_time_at_the_same_error_is_written(run):
    with (run[0] / "matched.csv").open(newline="") as file:
        found = {(row["codec"], row["method"], row["dtype"]): row for row in csv.DictReader(file)}
    rows = {(row["codec"], row["method"], row["dtype"], row["iterations"]): row for row in _rows(run[0])}
    assert {method for _, method, _ in found} == {name for _, name, _, _ in rows} - {"encoder", DEFAULT}
    reached = {key: match for key, match in found.items() if match["ratio"]}
    assert reached
    for key, match in reached.items():
        own, ours = rows[*key, "2"], rows[key[0], DEFAULT, key[2], match["default_iterations"]]
        assert float(ours["nmse_db"]) <= float(own["nmse_db"])
        assert float(match["ratio"]) == pytest.approx(float(own["seconds"]) / float(ours["seconds"]))


def test_environment_is_recorded(run):
    environment = json.loads((run[0] / "environment.json").read_text())
    assert environment["options"]["count"] == 3
    assert environment["options"]["marks"] == [2]
    assert environment["options"]["dtypes"] == ["float32", "bfloat16"]
    assert set(environment["options"]) == set(inspect.signature(decoder).parameters)
    assert environment["threads"] == 1
    assert environment["versions"]["torch"] == torch.__version__


def test_figure_is_a_picture(run):
    with Image.open(run[0] / "pareto.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 500


def test_a_second_run_is_refused(run, capsys):
    before = (run[0] / "table.csv").read_bytes()
    assert main(run[1]) == 2
    assert "holds a table.csv already" in capsys.readouterr().err
    assert (run[0] / "table.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--count=1", "`count` to be at least 2"),
        ("--repeats=0", "`repeats`"),
        ("--marks=[3,1]", "`marks` to be increasing"),
        ("--marks=[0,1]", "`marks` to be increasing"),
        ("--early=[2,2]", "`early` to be increasing"),
        ("--published=[0]", "`published` to be increasing"),
        ("--dtypes=[float32,float32]", "`dtypes`, all different, but got 1 and float32, float32"),
        ("--dtypes=[]", "`dtypes`, all different, but got 1 and none"),
        ("--codecs=[bundled,bundled]", "each of another name"),
        ("--device=toaster", "`device`"),
        ("--size=17", "multiple"),
        ("--codecs=[/does/not/exist]", "Expected"),
    ],
)
def test_bad_options_are_named(codec_path, tmp_path, capsys, option, message):
    assert main(["decoder", f"--out={tmp_path / 'out'}", f"--codecs=[{codec_path}]", "--size=16", option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        main(["decoder", "--help"])
    assert end.value.code == 0
    words = capsys.readouterr().out
    assert all(f"--{name}" in words for name in inspect.signature(decoder).parameters)
    assert "refused where it holds a table.csv" in " ".join(words.split())


def test_unknown_benchmarks_are_refused(capsys):
    assert main(["toaster"]) == 2
    assert "decoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["decoder"], "arguments are required: decoder.out"),
        (["decoder", "--out=x", "--count=y"], 'Parser key "count": Expected a .*int.* Got value: y'),
        (["decoder", "--out=x", "--toaster=1"], "unrecognized arguments: --toaster=1"),
        (["report"], "arguments are required: runs"),
    ],
)
def test_options_that_cannot_be_parsed_get_one_sentence(capsys, options, sentence):
    assert main(options) == 2
    error = capsys.readouterr().err
    assert re.match(rf"decinv.benchmark: error: Expected usable options, but: .*{sentence}; see `.* --help`.\n$", error)


def test_an_out_that_is_a_file_gets_one_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    for out in ("file", "file/below"):
        assert main(["overhead", f"--out={tmp_path / out}"]) == 2
        assert "Expected --out to name a directory, but" in capsys.readouterr().err
