"""The repeated blocks of an autoencoder: compiled one by one, or computed anew in the backward pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from diffusers import ModelMixin
from torch import nn
from torch.utils.checkpoint import checkpoint

from decinv.memory import is_out_of_memory

BLOCKS = (
    *("ResnetBlock2D", "Attention", "Downsample2D", "Upsample2D"),  # AutoencoderKL, AsymmetricAutoencoderKL, VQModel
    "AutoencoderTinyBlock",
    *("ResBlock", "EfficientViTBlock", "DCDownBlock2d", "DCUpBlock2d"),  # AutoencoderDC
)
"""Classes of the blocks that image autoencoders of diffusers repeat; a model's own ``_repeated_blocks`` goes before."""

VARIANTS = 64
"""Compiled variants that a block's class may have: for its channels, layouts, and batches of one, which torch treats apart.

Blocks of one class share torch's limit, which is 8; those beyond it would not be compiled.
"""


def repeated_blocks(model: nn.Module, option: str) -> list[nn.Module]:
    """Give the repeated blocks of a model.

    Args:
        model: The autoencoder, or a codec with one in it.
        option: What they are asked for, to name in an error.

    Raises:
        ValueError: If the model has no block that is known to be repeated.
    """
    named = {kind for part in model.modules() for kind in getattr(part, "_repeated_blocks", None) or ()}
    kinds = sorted(named) or BLOCKS
    blocks = [module for module in model.modules() if type(module).__name__ in kinds]
    if not blocks:
        raise ValueError(
            f"Expected an autoencoder with one of the blocks {', '.join(kinds)}, but {type(model).__name__} has none; leave "
            f"`{option}` off."
        )
    return blocks


def compile_blocks(model: ModelMixin) -> None:
    """Compile a model's repeated blocks in place, for batches and images of any size; torch does it at their first call.

    Args:
        model: The autoencoder. Torch's limit of variants is raised for the whole process, to ``VARIANTS``.

    Raises:
        ValueError: If the model has no block that is known to be repeated.
    """
    blocks = repeated_blocks(model, "compile")
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, VARIANTS)
    for block in blocks:
        block.compile(dynamic=True)


@contextmanager
def recomputing(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Let blocks keep their inputs alone of what they compute within, and compute the rest anew in the backward pass."""
    calls = [(block, "forward" if block._compiled_call_impl is None else "_compiled_call_impl") for block in blocks]
    before = [vars(block).get(name) for block, name in calls]
    for block, name in calls:
        setattr(block, name, partial(checkpoint, getattr(block, name), use_reentrant=False))
    try:
        yield
    finally:
        for (block, name), own in zip(calls, before, strict=True):
            if own is None:
                delattr(block, name)
            else:
                setattr(block, name, own)


def why_not_compiled(error: RuntimeError) -> str | None:
    """Say in a few words why torch could not compile blocks, as without a C++ compiler; ``None`` if it is another error."""
    if not isinstance(error, torch._dynamo.exc.TorchDynamoException) or is_out_of_memory(error):
        return None
    return " ".join(str(error).partition("\n\n")[0].split()).rstrip(".:")
