import pytest
import torch
from safetensors.torch import load_file, save_file

from decinv.watermark import Mask, Pattern, ShadingKey, TreeRingKey
from decinv.watermark.tree_ring_key import DECOYS

SHAPE = (4, 12, 12)


def make(**changes):
    return TreeRingKey.make(**{"shape": SHAPE, "channel": 1, "radius": 3, "seed": 7, **changes})


def test_a_saved_key_is_the_same_key(tmp_path):
    path = tmp_path / "keys" / "key.safetensors"
    key = make(pattern=Pattern.RANDOM)
    key.save(path)
    loaded = TreeRingKey.load(path)
    assert torch.equal(loaded.values, key.values)
    assert (loaded.shape, loaded.channel, loaded.radius, loaded.pattern, loaded.mask) == (
        SHAPE,
        1,
        3,
        Pattern.RANDOM,
        Mask.CENTRED,
    )
    assert loaded.fingerprint == key.fingerprint
    with pytest.raises(FileExistsError, match="Expected a fresh file"):
        key.save(path)


def test_fingerprints_tell_keys_apart():
    assert make().fingerprint == make().fingerprint
    others = [
        make(seed=8),
        make(seed=7 + 2**64),
        make(channel=2),
        make(radius=2),
        make(shape=(4, 12, 13)),
        make(shape=(5, 12, 12)),
    ]
    prints = {key.fingerprint for key in [make(), *others, make(pattern=Pattern.RANDOM), make(seed=None), make(seed=None)]}
    assert len(prints) == 10
    assert all(len(one) == 16 for one in prints)


def test_files_that_are_no_such_key_are_refused(tmp_path):
    path = tmp_path / "key.safetensors"
    with pytest.raises(FileNotFoundError, match="there is no"):
        TreeRingKey.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="cannot be read"):
        TreeRingKey.load(path)
    ShadingKey.make(SHAPE, 8, seed=0).save(tmp_path / "shading.safetensors")
    with pytest.raises(ValueError, match="Expected a decinv tree-ring key 1 in"):
        TreeRingKey.load(tmp_path / "shading.safetensors")


def test_a_changed_file_is_refused(tmp_path):
    key, path = make(pattern=Pattern.RINGS), tmp_path / "key.safetensors"
    key.save(path)
    settings = {"format": "decinv tree-ring key 1", "fingerprint": key.fingerprint, "shape": "4,12,12"}
    settings |= {"channel": "2", "radius": "3", "pattern": "RINGS", "mask": "CENTRED"}
    save_file(load_file(path), tmp_path / "other.safetensors", settings)
    with pytest.raises(ValueError, match="it was changed"):
        TreeRingKey.load(tmp_path / "other.safetensors")


def test_impossible_keys_are_refused():
    with pytest.raises(ValueError, match=r"Expected `channel` from 0 to 3, but got 4"):
        make(channel=4)
    with pytest.raises(ValueError, match="`radius`"):
        make(radius=-1)
    with pytest.raises(ValueError, match=r"three numbers \(C, H, W\) of at least 1, but got \(4, 0, 8\)"):
        TreeRingKey.make((4, 0, 8), channel=0, radius=1)
    with pytest.raises(ValueError, match="GIVEN"):
        make(pattern=Pattern.GIVEN)
    with pytest.raises(ValueError, match="Expected 29 coefficients"):
        TreeRingKey(SHAPE, 0, 3, torch.zeros(3, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"K\(-k\) = conj"):
        TreeRingKey(SHAPE, 0, 3, torch.full((29,), 1j, dtype=torch.complex64))


def test_a_key_is_none_of_its_own_decoys():
    """Not of the seed that has the words of a decoy's, either."""
    for seed in (0, 1, 2, DECOYS << 32):
        key = TreeRingKey.make((4, 16, 16), 0, 4, Pattern.RANDOM, seed=seed)
        assert not (key.decoys(9, seed % 2**32) == key.values).all(1).any()
