"""The package's configurations: found outside of the repository, and all of them packaged."""

import tomllib
from pathlib import Path

import pytest
import torch

import decinv
from decinv import shipped_configs
from decinv.benchmark import __main__ as benchmarks
from decinv.cli import main
from decinv.shipped_configs import shipped, with_shipped

ROOT = Path(__file__).parents[1]
QUICK = ["--trainer.accelerator=cpu", "--model.codec=LinearCodec", "--model.codec.stride=8", "--data.limit=1"]


@pytest.mark.parametrize(
    "update", [["--model.update", "configs/update/forward_step.yaml"], ["--model.update=configs/update/forward_step.yaml"]]
)
def test_a_job_runs_in_another_directory(tmp_path, monkeypatch, update):
    monkeypatch.chdir(tmp_path)
    job = ["fit", "--config=configs/decoder_inversion.yaml", *update, *QUICK, "--model.max_iters=2", "--out", "run"]
    monkeypatch.setattr("sys.argv", ["decinv", *job])
    assert main() == 0
    assert "decinv.updates.ForwardStep" in (tmp_path / "run" / "config.yaml").read_text()


def test_own_files_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "configs" / "update"
    place.mkdir(parents=True)
    (place / "anderson.yaml").write_text("class_path: Anderson\n")
    words = [
        "configs/update/anderson.yaml",
        "configs/update",
        "configs/none.yaml",
        "--out=configs/update/anderson_map.yaml",
        "a=b",
    ]
    assert with_shipped(words) == [*words[:3], f"--out={ROOT / 'configs' / 'update' / 'anderson_map.yaml'}", "a=b"]


def test_an_installed_package_has_its_own(tmp_path, monkeypatch):
    (tmp_path / "decinv" / "configs").mkdir(parents=True)
    (tmp_path / "decinv" / "configs" / "own.yaml").touch()
    monkeypatch.setattr(shipped_configs, "PLACES", (tmp_path / "decinv", tmp_path))
    assert shipped("configs/own.yaml") == str(tmp_path / "decinv" / "configs" / "own.yaml")


def test_benchmarks_and_python_find_them_too(tmp_path, monkeypatch, images):
    monkeypatch.chdir(tmp_path)
    words = []
    monkeypatch.setattr("decinv.arguments.auto_cli", lambda *_, args, **__: words.extend(args))
    assert benchmarks.main(["watermark", "--attacks", "configs/attacks/mild.yaml"]) == 0
    assert words[2] == str(ROOT / "configs" / "attacks" / "mild.yaml")
    codec = decinv.load_codec("bundled")
    result = decinv.invert(images(1), codec, update="configs/update/forward_step.yaml", max_iters=1)
    assert torch.isfinite(result.latent).all()


def test_every_package_is_packaged():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = [".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "decinv").rglob("__init__.py")]
    assert project["tool"]["setuptools"]["packages"] == sorted([*packages, "decinv.configs"])
