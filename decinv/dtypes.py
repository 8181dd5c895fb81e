"""Number formats by name, as the command line and YAML choose them."""

from typing import Literal, get_args

import torch

Dtype = Literal["float32", "bfloat16", "float16"]
"""Number format of the arithmetic of a codec or of a diffusion model's networks."""


def torch_dtype(name: Dtype) -> torch.dtype:
    """Give torch's number format of a name.

    Raises:
        ValueError: If there is none of that name, or it is not one to compute in.
    """
    if name not in get_args(Dtype):
        raise ValueError(f"Expected `dtype` to be one of {', '.join(get_args(Dtype))}, but got {name!r}.")
    found: torch.dtype = getattr(torch, name)
    return found
