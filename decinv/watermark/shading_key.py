"""Keys of Gaussian Shading: a secret that turns the bits of a message into signs, and spreads them over the latent."""

import hashlib
import math
import secrets
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from torch import Tensor

from decinv.ranges import refuse_below
from decinv.watermark.key_file import Shape, load_key, refuse_impossible_shape, refuse_other_shape, write_key

FORMAT = "decinv shading key 1"


@dataclass(frozen=True, eq=False)
class ShadingKey:
    """The secret of Gaussian Shading (Yang et al., arXiv 2404.04956).

    Images that share key, nonce and message share the signs of their noise. Where that must not show, give each image a
    nonce of its own, which need not be secret.

    The cipher is that of the released code, but the message lies elsewhere: there it is tiled over the latent, each bit an even
    number of times, and a tie is read as 0; here bits are spread at random, each an odd number of times.

    Attributes:
        shape: Shape (C, H, W) of the latents that carry the message.
        bits: Number of bits of the message, from 1 to C H W; each is repeated ``C H W / bits`` times,
            or the next lower odd number.
        secret: The 32 bytes of the cipher's key.
        nonce: 12 bytes.

    Raises:
        ValueError: If the shape, ``bits``, or the length of the secret or of the nonce, is out of range.
    """

    shape: tuple[int, int, int]
    bits: int
    secret: bytes = field(repr=False)
    nonce: bytes

    def __post_init__(self) -> None:
        """Check the key."""
        refuse_impossible_shape(self.shape)
        if not 1 <= self.bits <= self.size:
            raise ValueError(f"Expected `bits` from 1 to {self.size}, the values of a latent, but got {self.bits}.")
        if (len(self.secret), len(self.nonce)) != (32, 12):
            raise ValueError(f"Expected 32 bytes of secret and 12 of nonce, but got {len(self.secret)} and {len(self.nonce)}.")

    @classmethod
    def make(cls, shape: tuple[int, int, int], bits: int = 256, seed: int | None = None) -> "ShadingKey":
        """Make a key.

        Args:
            shape: Shape (C, H, W) of the latents.
            bits: Number of bits of the message; 256 is that of the paper, for latents of 4 x 64 x 64.
            seed: The secret, at least 0: whoever knows it can make the key; by default 256 bits of the operating system.

        Raises:
            ValueError: If ``shape``, ``bits`` or ``seed`` is out of range.
        """
        if seed is None:
            seed = secrets.randbits(256)
        refuse_below(0, seed=seed)
        return cls(shape, bits, _digest(f"secret {seed}"), _digest(f"nonce {seed}")[:12])

    @property
    def size(self) -> int:
        """Number of values of a latent."""
        return math.prod(self.shape)

    @property
    def copies(self) -> int:
        """How often each bit is repeated: an odd number, so that every vote has a majority."""
        copies = self.size // self.bits
        return copies - 1 + copies % 2

    @cached_property
    def signs(self) -> Tensor:
        """Which values ``(C H W,)`` the cipher negates: the first bits of its stream."""
        stream = np.frombuffer(keystream(self.secret, self.nonce, -(-self.size // 8)), np.uint8)
        return torch.from_numpy(np.unpackbits(stream)[: self.size].astype(np.bool_))

    @cached_property
    def places(self) -> Tensor:
        """Which bit each value ``(C H W,)`` carries, ``bits`` for none; spread at random so that a cut costs all bits alike."""
        order = keystream(self.secret, self.nonce, 9 * self.size)[self.size :]  # beyond the signs' part of the stream
        rank = torch.from_numpy(np.argsort(np.frombuffer(order, "<u8"), kind="stable"))
        return torch.where(rank < self.copies * self.bits, rank % self.bits, self.bits)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell this key from others and do not give it away."""
        return _digest(f"{FORMAT} {self.shape} {self.bits} {self.nonce.hex()} {self.secret.hex()}").hex()[:16]

    def check(self, latent: Tensor) -> None:
        """Refuse latents of another shape.

        Raises:
            ValueError: If ``latent`` is not ``(B, C, H, W)`` with the key's shape.
        """
        refuse_other_shape(latent, self.shape, self.fingerprint)

    def save(self, path: str | Path) -> None:
        """Write the key as safetensors, whole or not at all. Keep the file secret.

        Raises:
            FileExistsError: If there is a file already.
            OSError: If none can be written.
        """
        settings = {"shape": ",".join(map(str, self.shape)), "bits": str(self.bits), "nonce": self.nonce.hex()}
        secret = torch.from_numpy(np.frombuffer(self.secret, np.uint8).copy())
        write_key(Path(path), FORMAT, self.fingerprint, settings, {"secret": secret})

    @classmethod
    def load(cls, path: str | Path) -> "ShadingKey":
        """Read a key.

        Raises:
            FileNotFoundError: If there is no file.
            ValueError: If it is no such key, or not the one that was written.
        """

        def make(shape: Shape, settings: dict[str, str], tensors: dict[str, Tensor]) -> "ShadingKey":
            secret = tensors["secret"].numpy().tobytes()
            return cls(shape, int(settings["bits"]), secret, bytes.fromhex(settings["nonce"]))

        return load_key(Path(path), FORMAT, make)


def keystream(secret: bytes, nonce: bytes, count: int) -> bytes:
    """Give the first ``count`` bytes of the stream of ChaCha20 (RFC 8439), its block counter starting at 0."""
    return Cipher(ChaCha20(secret, bytes(4) + nonce), mode=None).encryptor().update(bytes(count))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
