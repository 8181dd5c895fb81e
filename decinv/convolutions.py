"""How exactly CUDA convolves in float32, which torch leaves to TF32 by default."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

TF32 = 2.0**-10
"""Relative error of rounding to TF32, as ``torch.finfo(...).eps`` is that of other formats."""


@contextmanager
def convolutions(tf32: bool) -> Iterator[None]:
    """Convolve in TF32, or in float32 as IEEE 754 has it, within a ``with`` block; elsewhere as before.

    cuDNN convolves float32 tensors in TF32 unless told otherwise: their factors are rounded to 10 bits of mantissa, as float16
    has. A network's output is then wrong by some 1e-3, and so is every latent that solves an equation of it. Matrix products
    are exact by torch's default; ``torch.set_float32_matmul_precision`` rules them.

    It changes nothing on other devices and in other number formats. If the precision was set through torch's newer
    ``fp32_precision``, it is left as it is.

    Args:
        tf32: Whether to round, for speed.
    """
    cudnn = torch.backends.cudnn
    try:
        before = cudnn.allow_tf32
    except RuntimeError:  # how torch says that the flag does not tell all
        yield
        return
    cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        cudnn.allow_tf32 = before
