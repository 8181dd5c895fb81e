"""Weights: whether models are made with them, and whether those that were loaded are all there."""

import copy
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import nn

from decinv.errors import reason
from decinv.memory import is_out_of_memory

T = TypeVar("T")


def without_weights() -> bool:
    """Whether autoencoders are made without weights, on the meta device, since that is the default device."""
    return torch.get_default_device().type == "meta"


@contextmanager
def loading(kind: str, directory: Path) -> Iterator[None]:
    """Say in one sentence what the libraries raise while they load a model within a ``with`` block.

    Raises:
        ValueError: If it cannot be loaded; where it does not fit into memory, that is raised as it is.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"Expected a loadable {kind} in {directory}, but got: {reason(error)}.") from error


def without_content(owner: T, model: nn.Module, device: torch.device | str) -> T:
    """Copy what holds a model, or is one, but for what the model's tensors hold.

    Args:
        owner: What is copied.
        model: The model in it.
        device: Where the copy's tensors are; on the meta device, and within a fake mode, they take no memory.
    """
    copies: dict[int, Any] = {id(buffer): torch.empty_like(buffer, device=device) for buffer in model.buffers()}
    for weight in model.parameters():
        copies[id(weight)] = nn.Parameter(torch.empty_like(weight, device=device), requires_grad=False)
    return copy.deepcopy(owner, copies)


def variant_of(files: Iterable[Path]) -> str | None:
    """Give the first variant of weights where there are no others: fp16 of ``diffusion_pytorch_model.fp16.safetensors``."""
    names = sorted(file.name.split(".") for file in files)
    return names[0][1].split("-")[0] if names and all(len(parts) == 3 for parts in names) else None


def refuse_incomplete(model: Any, missing: Collection[str], unused: Collection[str], directory: Path) -> None:
    """Refuse weights that are missing, which the libraries would draw at random, or not finite; warn of those not used.

    Args:
        model: What was loaded.
        missing: Names of weights that the files lack.
        unused: Names of weights in the files that the model has no use for.
        directory: Where they are.

    Raises:
        ValueError: If one is missing or not finite.
    """
    kind = type(model).__name__
    if missing:
        raise ValueError(
            f"Expected all weights of {kind} in {directory}, but it lacks {len(missing)}, such as {min(missing)!r}, which "
            "would be random."
        )
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise ValueError(
                f"Expected finite weights in {directory}, but {name!r} in {weight.dtype} is not; use another `dtype` or file."
            )
    if unused:
        warnings.warn(
            f"{kind} in {directory} does not use {len(unused)} of its saved weights, such as {min(unused)!r}.", stacklevel=2
        )
