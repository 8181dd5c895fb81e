import csv
import inspect
import json

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from decinv.benchmark.__main__ import main
from decinv.benchmark.decoder import decoder
from decinv.benchmark.methods import METHODS
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
def run(tmp_path_factory, codec_path):
    """One small run: its directory and its arguments."""
    out = tmp_path_factory.mktemp("run") / "new" / "directory"
    threads = torch.get_num_threads()
    small = {"codec": codec_path, "count": 4, "size": 16, "batch_size": 3, "marks": "[1,3]", "repeats": 1, "threads": 1}
    args = ["decoder", f"--out={out}", "--device=cpu", *(f"--{name}={value}" for name, value in small.items())]
    assert main(args) == 0
    torch.set_num_threads(threads)
    return out, args


def _rows(out):
    with (out / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_method_has_its_rows(run):
    rows = _rows(run[0])
    names = [method.name for method in METHODS]
    expected = [("0", "encoder"), *((k, name) for k in ("1", "3") for name in names[1:])]
    assert [(row["iterations"], row["method"]) for row in rows] == expected
    for row in rows[1:]:
        k, gradient = int(row["iterations"]), row["method"].startswith("gradient")
        work = [float(row[key]) for key in ("decodes", "encodes", "backwards")]
        assert work == ([k, 1, k] if gradient else [k, k + 1, 0])
        assert float(row["seconds"]) > 0
        assert float(row["peak_mib"]) > 0
        assert float(row["relative_seconds"]) > 0


def test_encoder_row_is_the_direct_computation(run, codec_path):
    codec = load_codec(codec_path)
    batch = generate(codec, 4, 16)
    scaled = codec.scaling.apply
    expected = nmse_db(scaled(codec.encode(batch.image)), scaled(batch.latent))
    row = _rows(run[0])[0]
    assert float(row["nmse_db"]) == pytest.approx(float(expected.mean()), abs=1e-3)
    assert float(row["nmse_db_worst"]) == pytest.approx(float(expected.max()), abs=1e-3)


def test_gradients_take_more_memory(run):
    peak = {(row["iterations"], row["method"]): float(row["peak_mib"]) for row in _rows(run[0])}
    assert peak["3", "gradient Adam 0.01"] > 1.5 * peak["3", "forward step 1"]


def test_markdown_shows_the_csv(run):
    lines = [line for line in (run[0] / "table.md").read_text().splitlines() if line.startswith("|")][2:]
    shown = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    rows = _rows(run[0])
    assert [cells[:2] for cells in shown] == [[row["iterations"], row["method"]] for row in rows]
    assert [float(cells[2]) for cells in shown] == pytest.approx([float(row["nmse_db"]) for row in rows], abs=0.0051)


def test_environment_is_recorded(run):
    environment = json.loads((run[0] / "environment.json").read_text())
    assert environment["options"]["count"] == 4
    assert environment["options"]["marks"] == [1, 3]
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
        ("--device=toaster", "`device`"),
        ("--size=17", "multiple"),
        ("--codec=/does/not/exist", "Expected"),
    ],
)
def test_bad_options_are_named(codec_path, tmp_path, capsys, option, message):
    assert main(["decoder", f"--out={tmp_path / 'out'}", f"--codec={codec_path}", "--size=16", option]) == 2
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
    with pytest.raises(SystemExit) as end:
        main(["toaster"])
    assert end.value.code == 2
    assert "decoder" in capsys.readouterr().err
