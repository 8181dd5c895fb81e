"""Files of latents: whole ones are known from their headers, others hold nothing."""

import pytest
import torch

from decinv.runs.latents import names_in, read_latent, write_latents


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
