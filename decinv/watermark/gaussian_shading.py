"""Gaussian Shading (Yang et al., CVPR 2024, arXiv 2404.04956): a message in the signs of the initial noise.

A message of k bits is repeated over the values of the latent, encrypted with a stream cipher, and written as their signs. The
stream is random, so the noise keeps its distribution. Pure functions of latents ``(B, C, H, W)``.
"""

import numpy as np
import torch
from scipy.special import bdtrc
from torch import Tensor
from torch.nn import functional

from decinv.ranges import refuse_below
from decinv.watermark.shading_key import ShadingKey


def messages(count: int, bits: int, seed: int) -> Tensor:
    """Draw messages ``(count, bits)``, bool, such as one for each user.

    Raises:
        ValueError: If ``seed`` is below 0.
    """
    refuse_below(0, seed=seed)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (count, bits)).astype(np.bool_))


def shade(latent: Tensor, key: ShadingKey, message: Tensor) -> Tensor:
    """Write a message into noise: keep the magnitude of every value and set its sign.

    Args:
        latent: Noise ``(B, C, H, W)``; it is not changed.
        key: The key.
        message: Bits ``(B, k)``, or ``(k,)`` for all, bool.

    Returns:
        Marked noise of the same shape and dtype, standard normal if ``latent`` is.

    Raises:
        ValueError: If a shape is not that of the key.
    """
    key.check(latent)
    if message.shape not in ((key.bits,), (len(latent), key.bits)):
        raise ValueError(f"Expected {key.bits} bits, for all or for each latent, but got shape {tuple(message.shape)}.")
    padded = functional.pad(message.bool().cpu().expand(len(latent), -1), (0, 1))
    positive = padded[:, key.places] ^ key.signs
    magnitude = latent.abs()
    return torch.where(positive.view_as(latent).to(latent.device), magnitude, -magnitude)


def read_message(latent: Tensor, key: ShadingKey) -> Tensor:
    """Read a message from noise by a majority vote among the copies of each bit.

    Args:
        latent: Recovered noise ``(B, C, H, W)``.
        key: The key.

    Returns:
        Bits ``(B, k)``, bool. Of noise that does not depend on the key, whatever its distribution, each is right by chance: the
        cipher's stream makes all bits fair and independent.

    Raises:
        ValueError: If the shape is not that of the key.
    """
    key.check(latent)
    positive = (latent.flatten(1) > 0).cpu() ^ key.signs
    copies = torch.zeros(len(latent), key.bits + 1, dtype=torch.int64)
    votes = copies.scatter_add(1, key.places.expand(len(latent), -1), positive.long())[:, : key.bits]
    return (2 * votes > key.copies).to(latent.device)


def bit_accuracy(bits: Tensor, message: Tensor) -> Tensor:
    """Give the part of equal bits, ``(B,)``, of bits ``(B, k)`` and a message ``(B, k)`` or ``(k,)``; 0.5 by chance."""
    return (bits == message.to(bits.device)).float().mean(1)


def match_p_value(matches: Tensor, bits: int, users: int = 1) -> Tensor:
    """Give the probability that noise without a mark matches the message of any of ``users`` in at least as many bits.

    Args:
        matches: Numbers of equal bits ``(B,)``, of the best user where there are several.
        bits: Number k of bits of a message.
        users: Number N of users whose messages were compared, at least 1.

    Returns:
        ``1 - (1 - P(Bin(k, 1/2) >= matches))^N``, float64.

    Raises:
        ValueError: If ``users`` is below 1.
    """
    refuse_below(1, users=users)
    single = torch.from_numpy(np.atleast_1d(bdtrc(matches.double().cpu().numpy() - 1, bits, 0.5)))
    return -torch.expm1(users * torch.log1p(-single)).view_as(matches).to(matches.device)


def threshold(bits: int, fpr: float, users: int = 1) -> int | None:
    """Give the smallest number of equal bits that proves a mark at a rate of false alarms of at most ``fpr``.

    It is one more than that of the released code, which bounds the rate of more equal bits than its threshold, and yet takes as
    many for proof: for 256 bits at 1e-6 it takes 166, whose rate is 1.18e-6, and this gives 167.

    Args:
        bits: Number k of bits of a message.
        fpr: Rate of false alarms, in (0, 1); 1e-6 in the paper.
        users: Number of users whose messages are compared.

    Returns:
        From 0 to k; ``None`` where even k equal bits prove too little.

    Raises:
        ValueError: If ``fpr`` is out of range, or ``users`` below 1.
    """
    if not 0 < fpr < 1:
        raise ValueError(f"Expected `fpr` in (0, 1), but got {fpr}.")
    enough = match_p_value(torch.arange(bits + 1), bits, users) <= fpr
    return int(enough.int().argmax()) if enough.any() else None


def trace(bits: Tensor, users: Tensor) -> tuple[Tensor, Tensor]:
    """Find whose message was read.

    Args:
        bits: Bits that were read, ``(B, k)``.
        users: Messages of all users, ``(N, k)``.

    Returns:
        The user whose message is closest, ``(B,)``, and the number of its bits that are equal, ``(B,)``. Whether that proves
        anything, ``match_p_value`` with N users says.
    """
    ours, theirs = (2 * one.float() - 1 for one in (bits, users.to(bits.device)))
    best, user = (ours @ theirs.T).max(1)
    return user, ((best + bits.shape[1]) / 2).round().long()
