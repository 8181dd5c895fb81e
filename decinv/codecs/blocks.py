"""Regional compilation: the repeated blocks of an autoencoder, instead of its whole graph."""

import torch
from diffusers import ModelMixin

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


def compile_blocks(model: ModelMixin) -> None:
    """Compile a model's repeated blocks in place, for batches and images of any size; torch does it at their first call.

    Args:
        model: The autoencoder. Torch's limit of variants is raised for the whole process, to ``VARIANTS``.

    Raises:
        ValueError: If the model has no block that is known to be repeated.
    """
    kinds = getattr(model, "_repeated_blocks", None) or BLOCKS
    blocks = [module for module in model.modules() if type(module).__name__ in kinds]
    if not blocks:
        raise ValueError(
            f"Expected an autoencoder with one of the blocks {', '.join(kinds)}, but {type(model).__name__} has none; leave "
            "`compile` off."
        )
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, VARIANTS)
    for block in blocks:
        block.compile(dynamic=True)


def why_not_compiled(error: RuntimeError) -> str | None:
    """Say in a few words why torch could not compile blocks, as without a C++ compiler; ``None`` if it is another error."""
    if not isinstance(error, torch._dynamo.exc.TorchDynamoException) or is_out_of_memory(error):
        return None
    return " ".join(str(error).partition("\n\n")[0].split()).rstrip(".:")
