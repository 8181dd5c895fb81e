"""The benchmarks of long runs do what they say, in small."""

import csv
import json
import sys

import pytest

from decinv.benchmark.__main__ import main
from decinv.benchmark.long_runs.soak import tenths

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning 2.6 calls what torch 2.13 deprecates
    pytest.mark.filterwarnings("ignore:.*in eval mode.*"),  # the codec is frozen on purpose
    pytest.mark.filterwarnings("ignore:.*have overridden `transfer_batch_to_device`.*"),  # on purpose
]


def options(directory):
    return json.loads((directory / "environment.json").read_text(encoding="utf-8"))["options"]


def table(directory):
    with (directory / "table.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_soak(tmp_path, capsys):
    assert main(["soak", "--out", str(tmp_path), "--count=40", "--batch_size=4", "--max_iters=3"]) == 0
    rows = table(tmp_path)
    assert [int(row["images"]) for row in rows] == [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]
    assert all(float(row["images_per_second"]) > 0 and float(row["resident_mib"]) > 10 for row in rows)
    assert (options(tmp_path)["count"], options(tmp_path)["size"]) == (40, 8)
    assert "Resident memory grew by" in capsys.readouterr().out


def test_overhead(tmp_path, saved):
    small = ["--count=5", "--size=16", "--batch_size=2", "--steps=4", "--rounds=2", f"--codec={saved('kl')}"]
    assert main(["overhead", "--out", str(tmp_path), *small]) == 0
    rows = table(tmp_path)
    assert [row["method"] for row in rows] == ["empty step", "forward step 1", "Anderson"] * 2
    assert (options(tmp_path)["steps"], options(tmp_path)["threads"]) == (4, 1)
    assert [row["codec"] for row in rows] == [str(saved("kl"))] * 3 + ["LinearCodec"] * 3
    assert {row["steps"] for row in rows} == {"8"}  # two steps of each of two chunks, twice
    assert all(float(row[name]) > 0 for row in rows for name in ("codec_ms", "step_ms", "mean_ms"))


def test_overhead_refuses_what_it_cannot_measure(tmp_path, capsys):
    assert main(["overhead", "--out", str(tmp_path), "--methods=[gradient Adam 0.01]"]) == 2
    assert "Expected `methods` among paper Adam 0.01; forward step 0.001" in capsys.readouterr().err
    assert main(["overhead", "--out", str(tmp_path), "--steps=2"]) == 2


def test_tenths():
    rows = tenths([(0, 5.0, 1.0), *((i, 5.0 + i / 2, float(i)) for i in range(1, 21))])
    assert [row["images"] for row in rows] == list(range(2, 21, 2))
    assert {row["images_per_second"] for row in rows} == {2.0}
    assert rows[-1]["resident_mib"] == 20.0


def test_index(tmp_path):
    assert main(["index", "--out", str(tmp_path), "--count=100", "--processes=3"]) == 0
    assert len(table(tmp_path)) == 5
    assert options(tmp_path)["processes"] == 3
    assert main(["index", "--out", str(tmp_path)]) == 2
