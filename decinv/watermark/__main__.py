"""Make the key of a watermark: ``python -m decinv.watermark rings --out key.safetensors --shape '[4,64,64]'``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decinv.arguments import run_command
from decinv.errors import tell
from decinv.watermark.shading_key import ShadingKey
from decinv.watermark.tree_ring_key import Pattern, TreeRingKey


def rings(
    out: Path,
    shape: tuple[int, int, int],
    channel: int = 3,
    radius: int = 10,
    pattern: Pattern = Pattern.RINGS,
    seed: int | None = None,
) -> None:
    """Make the key of a tree-ring watermark (arXiv 2305.20030), and print its fingerprint.

    Args:
        out: The file, safetensors; refused where it exists.
        shape: Shape (C, H, W) of the latents, such as ``[4,64,64]``.
        channel: The channel to mark, from 0.
        radius: Radius of the disc of Fourier coefficients in cycles per side; 10 is for sides of 64.
        pattern: What the coefficients are.
        seed: The secret, at least 0; by default 128 bits of the operating system.

    Raises:
        FileExistsError: If ``out`` exists.
        OSError: If it cannot be written.
        ValueError: If an option is out of range.
    """
    key = TreeRingKey.make(shape, channel, radius, pattern, seed)
    key.save(out)
    print(f"{out}: key {key.fingerprint}; keep the file secret.")


def shading(out: Path, shape: tuple[int, int, int], bits: int = 256, seed: int | None = None) -> None:
    """Make the key of Gaussian Shading (arXiv 2404.04956), and print its fingerprint.

    Args:
        out: The file, safetensors; refused where it exists.
        shape: Shape (C, H, W) of the latents, such as ``[4,64,64]``.
        bits: Number of bits of a message.
        seed: The secret, at least 0; by default 256 bits of the operating system.

    Raises:
        FileExistsError: If ``out`` exists.
        OSError: If it cannot be written.
        ValueError: If an option is out of range.
    """
    key = ShadingKey.make(shape, bits, seed)
    key.save(out)
    print(f"{out}: key {key.fingerprint}; keep the file secret.")


KINDS: dict[str, Any] = {"rings": rings, "shading": shading}
"""The watermarks: functions whose parameters are the command's options."""


def main(args: Sequence[str] | None = None) -> int:
    """Make a key, and say in one sentence what was wrong with an option.

    Args:
        args: Arguments, the watermark's name first; by default ``sys.argv``.

    Returns:
        The exit status: 0, or 2 after an error that this package raised about its input.
    """
    try:
        run_command(KINDS, args, "python -m decinv.watermark")
    except (ValueError, OSError) as error:
        return tell("decinv.watermark", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
