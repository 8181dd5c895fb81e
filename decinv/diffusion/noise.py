"""Standard normal noise by seed."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def draw_noise(shape: Sequence[int], *seed: int) -> Tensor:
    """Draw standard normal noise of a shape, float32, on the CPU; other numbers of ``seed`` give independent noise."""
    return torch.from_numpy(np.random.default_rng(list(seed)).standard_normal(tuple(shape), np.float32))
