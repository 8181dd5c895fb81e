import math

import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from scipy.stats import binom, kstest

from decinv.watermark import (
    ShadingKey,
    TreeRingKey,
    bit_accuracy,
    match_p_value,
    messages,
    read_message,
    shade,
    threshold,
    trace,
)
from decinv.watermark.shading_key import keystream

SHAPE = (4, 16, 16)


@pytest.fixture
def key():
    return ShadingKey.make(SHAPE, 32, seed=9)


def noise(count, seed=0, shape=SHAPE):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def test_the_cipher_is_that_of_rfc_8439():
    """Test vector 1 of appendix A.1 of the RFC."""
    assert keystream(bytes(32), bytes(12), 16).hex() == "76b8e0ada0f13d90405d6ae55386bd28"


@pytest.mark.parametrize(("shape", "bits"), [(SHAPE, 32), (SHAPE, 1), (SHAPE, 1024), ((3, 7, 5), 20)])
def test_messages_are_read_as_they_were_written(shape, bits):
    key = ShadingKey.make(shape, bits, seed=1)
    message, latent = messages(3, bits, seed=2), noise(3, shape=shape)
    marked = shade(latent, key, message)
    assert torch.equal(read_message(marked, key), message)
    assert torch.equal(marked.abs(), latent.abs())
    assert torch.equal(read_message(shade(latent, key, message[0]), key), message[:1].expand(3, -1))
    assert bit_accuracy(read_message(marked, key), ~message).tolist() == [0, 0, 0]


def test_marked_noise_is_standard_normal():
    """Of one image: images of one key, nonce and message share their signs."""
    key = ShadingKey.make((4, 64, 64), 256, seed=9)
    marked = shade(noise(1, shape=(4, 64, 64)), key, torch.ones(256, dtype=torch.bool))
    assert kstest(marked.flatten().numpy(), "norm").pvalue > 0.01


def test_each_bit_has_an_odd_number_of_copies(key):
    assert key.places.bincount().tolist() == [31] * 32 + [32]
    uneven = ShadingKey.make((3, 7, 5), 20, seed=1)
    assert uneven.places.bincount().tolist() == [5] * 20 + [5]
    assert ShadingKey.make((3, 7, 5), 105, seed=1).places.bincount().tolist() == [1] * 105


def test_signs_are_the_encrypted_bits():
    """The repeated bits and the first of the cipher's stream, the most significant of a byte first, added modulo 2."""
    key = ShadingKey.make((4, 8, 8), 16, seed=5)
    message = messages(1, 16, seed=2)[0]
    stream = Cipher(ChaCha20(key.secret, bytes(4) + key.nonce), mode=None).encryptor().update(bytes(32))
    marked = shade(noise(1, shape=(4, 8, 8)), key, message).flatten()
    for place, bit in enumerate(key.places.tolist()):
        sent = bool(message[bit]) if bit < 16 else False
        assert bool(marked[place] > 0) == sent ^ bool(stream[place // 8] >> (7 - place % 8) & 1)


def test_votes_survive_noise_and_a_cut(key):
    message = messages(50, 32, seed=3)
    marked = shade(noise(50), key, message)
    assert float(bit_accuracy(read_message(marked + 0.7 * noise(50, 1), key), message).mean()) > 0.99
    marked[..., :8] = noise(50, 2)[..., :8]
    assert float(bit_accuracy(read_message(marked, key), message).mean()) > 0.98


@pytest.mark.parametrize("latent", [noise(4000, 4, (4, 8, 8)), torch.ones(1, 4, 8, 8)])
def test_unmarked_latents_match_by_chance_whatever_they_are(latent):
    """White noise with one key, and a constant latent over keys, for a message that is no coin's: all zeros."""
    seeds = range(1) if len(latent) > 1 else range(1500)
    keys = [ShadingKey.make((4, 8, 8), 16, seed) for seed in seeds]
    message = torch.zeros(16, dtype=torch.bool)
    matches = torch.cat([(read_message(latent, key) == message).sum(1) for key in keys])
    for least in (8, 10, 12):
        assert float((matches >= least).float().mean()) == pytest.approx(binom.sf(least - 1, 16, 0.5), abs=0.04)


def test_p_values_and_thresholds_are_those_of_the_binomial():
    assert match_p_value(torch.tensor([0, 128, 256]), 256).tolist() == pytest.approx([1, binom.sf(127, 256, 0.5), 2.0**-256])
    least = threshold(256, 1e-6)
    assert binom.sf(least - 1, 256, 0.5) <= 1e-6 < binom.sf(least - 2, 256, 0.5)
    many = threshold(256, 1e-6, users=1000)
    assert 1000 * binom.sf(many - 1, 256, 0.5) <= 1.001e-6 < 1000 * binom.sf(many - 2, 256, 0.5)
    assert threshold(8, 1e-6) is None
    assert threshold(8, 1 / 256) == 8
    assert match_p_value(torch.tensor([8]), 8, users=3).item() == pytest.approx(1 - (1 - 1 / 256) ** 3)


def test_users_are_traced(key):
    users = messages(500, 32, seed=5)
    bits = users[[7, 450]].clone()
    bits[0, :3] ^= True
    user, matches = trace(bits, users)
    assert user.tolist() == [7, 450]
    assert matches.tolist() == [29, 32]


def test_a_saved_key_is_the_same_key(tmp_path, key):
    key.save(tmp_path / "key.safetensors")
    loaded = ShadingKey.load(tmp_path / "key.safetensors")
    assert (loaded.shape, loaded.bits, loaded.secret, loaded.nonce) == (SHAPE, 32, key.secret, key.nonce)
    assert loaded.fingerprint == key.fingerprint != ShadingKey.make(SHAPE, 32, seed=10).fingerprint
    assert key.secret.hex() not in repr(key)
    with pytest.raises(ValueError, match="tree-ring"):
        TreeRingKey.load(tmp_path / "key.safetensors")


def test_bad_input_is_refused(key):
    with pytest.raises(ValueError, match=r"Expected latents of shape \(B, 4, 16, 16\)"):
        read_message(noise(1, shape=(4, 8, 8)), key)
    with pytest.raises(ValueError, match=r"Expected 32 bits, for all or for each latent, but got shape \(31,\)"):
        shade(noise(2), key, torch.zeros(31, dtype=torch.bool))
    with pytest.raises(ValueError, match="`bits` from 1 to 1024"):
        ShadingKey.make(SHAPE, math.prod(SHAPE) + 1)
    with pytest.raises(ValueError, match="`seed`"):
        ShadingKey.make(SHAPE, 8, seed=-1)
    with pytest.raises(ValueError, match="32 bytes of secret"):
        ShadingKey(SHAPE, 8, b"short", bytes(12))
    with pytest.raises(ValueError, match="`fpr`"):
        threshold(8, 0.0)
    with pytest.raises(ValueError, match="`users`"):
        match_p_value(torch.tensor([1]), 8, users=0)
