"""Forward-mode derivatives of networks, where torch lacks them for the layouts and kernels that networks use."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


def tangent_of(work: Callable[[Tensor], Tensor], point: Tensor, direction: Tensor) -> Tensor:
    """Give the Jacobian of ``work`` at a point times a direction.

    Args:
        work: The map.
        point: Its argument.
        direction: What the Jacobian is multiplied with, of the same shape.
    """
    with sdpa_kernel(SDPBackend.MATH), _ContiguousNorms():  # other kernels of attention have no such derivative
        tangent: Tensor = torch.func.jvp(work, (point,), (direction,))[1]
    return tangent


class _ContiguousNorms(TorchFunctionMode):
    """Normalise groups of contiguous tensors, the only ones for which torch has that derivative.

    Attention leaves images of several samples channels-last.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.group_norm:
            args = (args[0].contiguous(), *args[1:])
        return func(*args, **(kwargs or {}))
