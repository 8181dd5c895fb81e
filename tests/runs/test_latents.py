"""Files of latents: whole ones are known from their headers, others hold nothing."""

import json

import pytest
import torch
from safetensors import safe_open

from decinv.runs.latents import names_in, read_latent, update_latents, write_latents


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "latents" / "0.safetensors"
    latents = {"a/b.png": torch.randn(4, 2, 3), "new\nline": torch.randn(4, 1, 1).expand(4, 5, 5)}
    write_latents(path, latents, {"codec": "bundled"})
    assert names_in(path) == set(latents)
    assert all(torch.equal(read_latent(path, name), latent) for name, latent in latents.items())
    with pytest.raises(KeyError, match="'c'"):
        read_latent(path, "c")
    assert [entry.name for entry in path.parent.iterdir()] == ["0.safetensors"]


def test_files_cut_anywhere_hold_nothing(tmp_path):
    path = tmp_path / "0.safetensors"
    write_latents(path, {"a": torch.randn(4, 2, 2)}, {})
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert names_in(path) == frozenset(), cut
    path.write_bytes(whole + b"x")
    assert names_in(path) == frozenset()
    path.write_bytes(b"\xff" * 100)
    assert names_in(path) == frozenset()
    assert names_in(tmp_path / "missing") == names_in(tmp_path) == frozenset()


def test_what_a_file_holds_of_others_and_of_what_is_done_is_kept(tmp_path):
    path = tmp_path / "latents" / "0.safetensors"
    old, new = ({name: torch.full((1, 1, 1), value) for name in "abc"} for value in (1.0, 2.0))
    update_latents(path, old, dict.fromkeys("abc", "old"), {"codec": "x"}, ())
    update_latents(path, {name: new[name] for name in "bc"}, {"b": "new", "c": "new"}, {"codec": "x"}, {"b"})
    assert [float(read_latent(path, name)) for name in "abc"] == [1.0, 1.0, 2.0]
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["samples"]) == {"a": "old", "b": "old", "c": "new"}
        assert file.metadata()["codec"] == "x"


def test_latents_whose_noise_is_lost_are_lost(tmp_path):
    path, noise = tmp_path / "latents" / "0.safetensors", tmp_path / "noise" / "0.safetensors"
    update_latents(path, {"a": torch.zeros(1, 1, 1)}, {}, {"noise": "noise/0.safetensors"}, ())
    assert names_in(path) == frozenset()
    update_latents(noise, {}, {}, {}, ())  # noise that is not finite
    assert names_in(path) == {"a"}
    noise.write_bytes(noise.read_bytes()[:-1])
    assert names_in(path) == frozenset()
