"""Latents in safetensors files: what is listed, loaded and refused."""

import pytest
import torch
from safetensors.torch import save_file

from decinv.data.latents import latent_size, list_latents, load_latent
from decinv.runs import Input


def save(path, latent, key="latent"):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: latent}, path)
    return latent


def test_single_latents_and_stacks(tmp_path):
    one = save(tmp_path / "sub" / "one.safetensors", torch.randn(4, 2, 3))
    stack = save(tmp_path / "stack.safetensors", torch.randn(2, 4, 2, 2))
    save(tmp_path / ".hidden.safetensors", torch.randn(4, 2, 2))
    items = list_latents(str(tmp_path))
    assert [item.name for item in items] == ["stack-00000", "stack-00001", "sub/one"]
    for item, latent in zip(items, [stack[0], stack[1], one], strict=True):
        assert torch.equal(load_latent(item, 4), latent)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_number_formats_become_float32(tmp_path, dtype):
    latent = save(tmp_path / "a.safetensors", torch.randn(4, 2, 2).to(dtype))
    (item,) = list_latents(tmp_path)
    loaded = load_latent(item, 4)
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, latent.float())


def test_tensors_of_other_keys_are_named_by_them(tmp_path):
    latents = {"b/x.png": torch.randn(4, 2, 2), "a.png": torch.randn(4, 3, 1), "latent": torch.randn(4, 1, 1)}
    save_file(latents, tmp_path / "chunk.safetensors")
    items = list_latents(tmp_path)
    assert [item.name for item in items] == ["a.png", "b/x.png", "latent"]
    assert [item.number for item in items] == [0, 1, 2]
    assert all(torch.equal(load_latent(item, 4), latents[item.name]) for item in items)


def test_files_without_latents_are_listed_and_say_why_when_loaded(tmp_path):
    save(tmp_path / "flat.safetensors", torch.zeros(4, 2))
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0 nonsense")
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    save_file({}, tmp_path / "none.safetensors")
    items = list_latents(tmp_path)
    assert [item.name for item in items] == ["broken", "empty", "flat", "gone", "none"]
    for item in items:
        with pytest.raises(ValueError, match=rf"{item.name}\.safetensors"):
            load_latent(item, 4)


def test_latents_that_do_not_fit(tmp_path):
    save(tmp_path / "a.safetensors", torch.zeros(3, 2, 2))
    save(tmp_path / "b.safetensors", torch.tensor([torch.nan]).expand(4, 2, 2).clone())
    save(tmp_path / "c.safetensors", torch.zeros(4, 2, 2, dtype=torch.int32))
    channels, nan, integer = list_latents(tmp_path)
    with pytest.raises(ValueError, match=r"4 channels, .* \(3, 2, 2\)"):
        load_latent(channels, 4)
    for item in (nan, integer):
        with pytest.raises(ValueError, match="finite floating-point"):
            load_latent(item, 4)


def test_sizes_come_from_headers(tmp_path):
    save(tmp_path / "a.safetensors", torch.zeros(2, 4, 3, 5))
    save_file({"x": torch.zeros(4, 2, 7)}, tmp_path / "b.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"broken")
    assert [latent_size(item) for item in list_latents(tmp_path)] == [(3, 5), (3, 5), (2, 7), None]


def test_one_name_twice(tmp_path):
    save(tmp_path / "a.safetensors", torch.zeros(1, 4, 2, 2))
    save(tmp_path / "a-00000.safetensors", torch.zeros(4, 2, 2))
    with pytest.raises(ValueError, match="'a-00000'"):
        list_latents(tmp_path)


def test_nothing_there(tmp_path):
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="safetensors files, but there is none"):
            list_latents(directory)


def test_a_row_of_a_stack_is_read_alone(tmp_path):
    save(tmp_path / "a.safetensors", torch.arange(32.0).reshape(2, 4, 2, 2))
    assert torch.equal(
        load_latent(Input(0, "x", str(tmp_path / "a.safetensors"), 1), 4), torch.arange(16.0, 32.0).reshape(4, 2, 2)
    )
