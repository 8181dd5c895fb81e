"""Tree-ring watermarks (Wen et al., arXiv 2305.20030): writing a key into noise, and finding it in noise that was recovered.

Pure functions of latents ``(B, C, H, W)`` in the space of the diffusion model, where noise has mean 0 and deviation 1.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import chndtr, stdtr
from torch import Tensor
from torch.nn import functional

from decinv.ranges import refuse_below, refuse_not_above
from decinv.watermark.disc import Mask
from decinv.watermark.tree_ring_key import TreeRingKey


def inject(latent: Tensor, key: TreeRingKey) -> Tensor:
    """Write the key into noise.

    Args:
        latent: Noise ``(B, C, H, W)``; it is not changed.
        key: The key.

    Returns:
        Marked noise of the same shape and dtype.

    Raises:
        ValueError: If the shape is not that of the key.
    """
    key.check(latent)
    if not len(latent):  # which FFT libraries refuse
        return latent.clone()
    plane = _plane(latent, key)
    plane[:, key.disc] = key.values.to(plane)
    marked = latent.clone()
    marked[:, key.channel] = torch.fft.ifft2(plane, norm="ortho").real.to(latent.dtype)
    return marked


def distance(latent: Tensor, key: TreeRingKey) -> Tensor:
    """Give the mean of |F - K| over the disc, the papers' measure: low where the key is, if the noise has its full strength.

    Args:
        latent: Recovered noise ``(B, C, H, W)``, whose channel has the coefficients F.
        key: The key with the coefficients K.

    Returns:
        Distances ``(B,)``, float32; of white noise without the key about 1.25 for ``RANDOM``, 0.89 for ``ZEROS``.

    Raises:
        ValueError: If the shape is not that of the key.
    """
    return (_coefficients(latent, key) - key.values.to(latent.device)).abs().mean(1)


def correlation(latent: Tensor, key: TreeRingKey) -> Tensor:
    """Give ``r = Re <F, K> / ||F|| ||K||`` over the disc, which does not depend on the strength of the noise.

    Args:
        latent: Recovered noise ``(B, C, H, W)``, whose channel has the coefficients F.
        key: The key with at least two coefficients K, not all of them 0.

    Returns:
        Values ``(B,)`` in [-1, 1], float64; 0 of noise that is 0.

    Raises:
        ValueError: If the shape is not that of the key, or the key is no such key.
    """
    if not key.directed:
        raise ValueError(
            "Expected a key of at least two coefficients, not all 0; use `distance` and `distance_p_value` for others."
        )
    found, wanted = _coefficients(latent, key).cpu().to(torch.complex128), key.values.to(torch.complex128)
    along = (found * wanted.conj()).real.sum(1) / torch.linalg.vector_norm(wanted)
    length = torch.linalg.vector_norm(found, dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    r: Tensor = along / length
    return r.clamp(-1, 1).to(latent.device)


def p_value(latent: Tensor, key: TreeRingKey) -> Tensor:
    """Give the probability that white noise of any deviation, without the key, correlates with it as much as this latent.

    The n coefficients of a centred disc are n real numbers, for those of -k follow from those of k. Of white noise they are a
    vector of random direction, so that ``t = r sqrt((n - 1) / (1 - r^2))``, with the ``correlation`` r, has Student's
    distribution with n - 1 degrees of freedom, and p is uniform. What an inversion recovers of images without a mark is often
    weaker than noise, which this does not mind; where it is not white, see ``decoy_p_value``.

    Args:
        latent: Recovered noise ``(B, C, H, W)``.
        key: The key, with a centred mask of at least two coefficients, not all of them 0.

    Returns:
        Values ``(B,)`` in [0, 1], float64.

    Raises:
        ValueError: If the shape is not that of the key, or the key is no such key.
    """
    _refuse_published(key)
    r, degrees = correlation(latent, key).cpu(), key.values.numel() - 1
    t = r * (degrees / (1 - r.square()).clamp(min=torch.finfo(torch.float64).tiny)).sqrt()
    return torch.from_numpy(np.asarray(stdtr(degrees, -t.numpy()))).to(latent.device)


def distance_p_value(latent: Tensor, key: TreeRingKey, std: float = 1.0) -> Tensor:
    """Give the probability that white noise of a known deviation, without the key, comes as close to it as this latent.

    For noise of deviation s, the sum of |F - K|^2 / s^2 over a centred disc of n coefficients is a noncentral chi-square with n
    degrees of freedom and noncentrality sum |K|^2 / s^2: each pair of conjugate coefficients brings two independent normal
    numbers of variance 1/2 and counts twice, the zero frequency brings one of variance 1. So p is uniform without a mark. The
    published p-value counts both of a pair as independent, and estimates s from the coefficients that may carry the key. Noise
    weaker than s is closer to any key, and raises false alarms; ``p_value`` does not depend on s.

    Args:
        latent: Recovered noise ``(B, C, H, W)``.
        key: The key, with a centred mask.
        std: Deviation s of noise without the key.

    Returns:
        Values ``(B,)`` in [0, 1], float64.

    Raises:
        ValueError: If the shape is not that of the key, ``std`` is out of range, or the mask is the published one.
    """
    _refuse_published(key)
    refuse_not_above(0, std=std)
    error = (_coefficients(latent, key) - key.values.to(latent.device)).abs().double().square().sum(1) / std**2
    noncentrality = float(key.values.abs().double().square().sum()) / std**2
    p = chndtr(error.cpu().numpy(), key.values.numel(), noncentrality)
    return torch.from_numpy(np.asarray(p)).to(latent.device)


def decoy_p_value(latent: Tensor, key: TreeRingKey, count: int = 999, seed: int = 0) -> Tensor:
    """Give the part of keys, drawn like this one, that correlate with the latent at least as much; itself is among them.

    The correlation is that of ``p_value``. For unmarked latents of whatever distribution, coloured noise say, p is uniform over
    the draw of the secret key; for one key, the rate of false alarms over many images may differ, for they may share what
    resembles it. For white noise p is uniform with any key of the pattern ``RANDOM``. Keys of ``RINGS`` do not point
    everywhere alike: with 3 to 6 rings, single keys had up to three times the rate of false alarms of 0.01 that was asked for,
    and with 10 none had another one than chance explains (2,000 draws for each of six keys).

    Args:
        latent: Recovered noise ``(B, C, H, W)``.
        key: A key that was drawn at random.
        count: Number of other keys, at least 1; p is at least ``1 / (count + 1)``.
        seed: Seed of the other keys.

    Returns:
        Values ``(B,)`` in (0, 1], float64.

    Raises:
        ValueError: If the shape is not that of the key, it has no decoys (see ``TreeRingKey.check_decoys``), or ``count`` is
            below 1.
    """
    refuse_below(1, count=count)
    coefficients = torch.view_as_real(_coefficients(latent, key)).flatten(1)
    keys = torch.view_as_real(torch.cat([key.values[None], key.decoys(count, seed)])).flatten(1).to(latent.device)
    correlation = coefficients @ functional.normalize(keys).T
    return (correlation >= correlation[:, :1]).double().mean(1)


def distances(latent: Tensor, keys: Sequence[TreeRingKey]) -> Tensor:
    """Give the ``distance`` to each key, ``(B, N)``; the papers name the key of the lowest."""
    return torch.stack([distance(latent, key) for key in keys], dim=1)


def correlations(latent: Tensor, keys: Sequence[TreeRingKey]) -> Tensor:
    """Give the ``correlation`` with each key, ``(B, N)``."""
    return torch.stack([correlation(latent, key) for key in keys], dim=1)


def likeliest(latent: Tensor, keys: Sequence[TreeRingKey]) -> Tensor:
    """Tell which key noise carries: that of the smallest ``p_value``, which among keys of one size correlates best.

    What an imperfect inversion recovers is F = g K + e, the key at an unknown strength g with an error of unknown deviation s.
    If e is white, the likelihood of K, at the g and the s that suit it best, is a function of min ||F - g K||^2 =
    ||F||^2 (1 - r^2), so the likeliest key has the highest correlation r. The lowest ``distance`` takes g for 1: it reads noise
    that was recovered too weak as the weakest key, and tells keys of like shape better where g is near 1.

    Args:
        latent: Recovered noise ``(B, C, H, W)``.
        keys: At least one key, each as ``p_value`` takes it.

    Returns:
        Numbers of keys ``(B,)``, int64.

    Raises:
        ValueError: If the shape is not that of a key, or a key is not as ``p_value`` takes it.
    """
    p = torch.stack([p_value(latent, key) for key in keys], dim=1)
    best = p == p.min(1, keepdim=True).values  # several, where p is too small for a float64 or rounds to 1
    return torch.where(best, correlations(latent, keys), -torch.inf).argmax(1)


def p_value_of_any(p_values: Tensor) -> Tensor:
    """Give the probability that noise without a mark fits any of N independent keys as well as the one it fits best.

    Of keys that resemble each other it gives an upper bound.

    Args:
        p_values: Values of single keys ``(B, N)``.

    Returns:
        ``1 - (1 - p)^N`` of the lowest p of each row, ``(B,)``.
    """
    return -torch.expm1(p_values.shape[1] * torch.log1p(-p_values.min(1).values))


def _refuse_published(key: TreeRingKey) -> None:
    if key.mask is not Mask.CENTRED:
        raise ValueError("Expected a key with a centred mask, since no p-value is known for the published one; use `distance`.")


def _plane(latent: Tensor, key: TreeRingKey) -> Tensor:
    plane: Tensor = torch.fft.fft2(latent[:, key.channel].float(), norm="ortho")
    return plane


def _coefficients(latent: Tensor, key: TreeRingKey) -> Tensor:
    key.check(latent)
    if not len(latent):  # which FFT libraries refuse
        return torch.zeros(0, key.values.numel(), dtype=torch.complex64, device=latent.device)
    return _plane(latent, key)[:, key.disc.to(latent.device)]
