"""A few numbers of each sample, on the host and back."""

import numpy as np
import torch
from torch import Tensor

from decinv.updates.books import Numbers


def squared_lengths(rows: Tensor) -> Numbers:
    """Give the squared length of each row, which steps that hardly change it are judged by."""
    squares: Numbers = np.square(to_host(torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)))
    return squares


def near_one(squares: Numbers) -> Numbers:
    """Give the powers of two that bring squared lengths nearest to 1 if lengths are multiplied by them, which rounds nothing.

    So products of latents of any scale are within float32's range.
    """
    powers: Numbers = np.exp2(-np.round(np.log2(squares) / 2))
    return powers


def to_host(values: Tensor) -> Numbers:
    """Bring a few values to the host."""
    numbers: Numbers = values.cpu().numpy().astype(np.float64)
    return numbers


def like(numbers: Numbers, tensor: Tensor) -> Tensor:
    """Bring a few values to the device and the number format of a tensor."""
    return torch.from_numpy(numbers).to(tensor)
