"""Files of keys that were damaged."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from decinv.errors import own_sentence
from decinv.watermark import ShadingKey, TreeRingKey

KINDS = {"rings": TreeRingKey, "shading": ShadingKey}


@pytest.fixture
def damage(tmp_path):
    """Write a key of a kind with other settings and tensors; ``None`` for none of that name."""

    def write(kind, changes):
        path = tmp_path / kind
        KINDS[kind].make((4, 8, 8), 3, seed=0).save(path)
        with safe_open(path, "pt") as file:
            content = {**file.metadata(), **{name: file.get_tensor(name) for name in file.keys()}, **changes}  # noqa: SIM118
        tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
        metadata = {name: value for name, value in content.items() if isinstance(value, str)}
        save_file(tensors, path, metadata)
        return path

    return write


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("rings", {"fingerprint": None}),
        ("rings", {"shape": None}),
        ("rings", {"shape": "4,ten"}),
        ("rings", {"shape": "4,5,5"}),
        ("rings", {"radius": "9" * 30}),
        ("rings", {"pattern": "FOO"}),
        ("rings", {"values": None}),
        ("rings", {"values": torch.zeros(5)}),
        ("rings", {"values": torch.zeros(5, 2)}),
        ("shading", {"fingerprint": None}),
        ("shading", {"nonce": "zz"}),
        ("shading", {"bits": "0"}),
        ("shading", {"secret": None}),
        ("shading", {"secret": torch.zeros(3)}),
    ],
)
def test_damaged_files_are_said_to_be(damage, kind, changes):
    path = damage(kind, changes)
    with pytest.raises(ValueError, match=rf"^Expected the file of a key, but {path} is damaged: .+\.$") as caught:
        KINDS[kind].load(path)
    assert own_sentence(caught.value) == str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_changed_keys_are_told_from_damaged_ones(damage, kind):
    path = damage(kind, {"fingerprint": "0" * 16})
    with pytest.raises(ValueError, match="it was changed"):
        KINDS[kind].load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read"):
        KINDS[kind].load(path)


def test_a_key_of_another_kind_is_called_by_its_name(damage):
    with pytest.raises(ValueError, match=r"a decinv tree-ring key 1 in .*, but it holds decinv shading key 1\.$"):
        TreeRingKey.load(damage("shading", {}))
    with pytest.raises(ValueError, match=r"but it holds something else\.$"):
        TreeRingKey.load(damage("rings", {"format": None}))
