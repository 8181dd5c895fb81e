"""File names for any name: safe, and different for different names."""

import os

import pytest

from decinv.runs.names import safe_name


@pytest.mark.parametrize("name", ["a", "a/b.png", "猫/a b.png", "a..b", "...", "x" * 200])
def test_names_that_are_file_names_stay(name):
    assert safe_name(name) == name


def test_other_names_become_safe_and_stay_unique(tmp_path):
    names = ["../x", "/x", "x/", "./x", "a/../../x", "..", "", "/", "a//b", "x" * 300, "x" * 301, "y" * 150 + "/" + "z" * 999]
    names += ["d/" * 2100 + "x", "d/" * 2101 + "x"]
    names += ["nul\0", "\udcff", "~/x\\..", "a.safetensors/b", "a"]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert not set(safe) & {"x", "a/b", "a.safetensors/b"}
    for path in safe:
        full = tmp_path / f"{path}.safetensors"
        assert full.resolve().is_relative_to(tmp_path)
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(b"")
    assert sum(len(files) for _, _, files in os.walk(tmp_path)) == len(names)
