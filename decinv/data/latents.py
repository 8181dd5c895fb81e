"""Raw latents in safetensors files, as inversions write them."""

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from decinv.batch import Failure

KEY = "latent"
"""Name of the tensor in a file."""


class SavedLatent(NamedTuple):
    """One raw latent in a file: its unique name, the file, and its row where the file holds several."""

    name: str
    path: Path
    row: int | None

    def load(self, channels: int) -> Tensor:
        """Read the latent.

        Args:
            channels: Channels that it must have.

        Returns:
            The raw latent with shape ``(channels, h, w)``, float32.

        Raises:
            ValueError: If it has other channels, or values that are no finite floating-point numbers.
        """
        with safe_open(self.path, "pt") as file:
            part = file.get_slice(KEY)
            latent: Tensor = part[:] if self.row is None else part[self.row : self.row + 1][0]
        if latent.shape[0] != channels:
            raise ValueError(f"Expected a latent with {channels} channels, but {self.path} has shape {tuple(latent.shape)}.")
        if not latent.is_floating_point() or not latent.isfinite().all():
            raise ValueError(f"Expected a latent of finite floating-point numbers, but {self.path} has others.")
        return latent.to(torch.float32)


def list_latents(directory: str | Path) -> tuple[SavedLatent | Failure, ...]:
    """List the latents of all safetensors files below a directory, hidden files left out, in the order of their names.

    A file is named by its path below the directory, without suffix; ``-00000``, ``-00001``, ... follow where it holds several
    latents, ``(B, C, h, w)`` rather than ``(C, h, w)``. Only the files' headers are read.

    Args:
        directory: Where the files are; ``~`` is the home directory.

    Returns:
        The latents, and a failure for each file that holds none.

    Raises:
        FileNotFoundError: If there is no such directory, or no safetensors file below it.
        ValueError: If two latents have one name.
    """
    root = Path(directory).expanduser()
    paths = sorted(path for path in root.rglob("*.safetensors") if not path.name.startswith("."))
    if not paths:
        raise FileNotFoundError(f"Expected a directory with safetensors files, but there is none at {str(directory)!r}.")
    found = [item for path in paths for item in _items(path, path.relative_to(root).with_suffix("").as_posix())]
    seen: set[str] = set()
    for item in found:
        if item.name in seen:
            raise ValueError(f"Expected unique names in {str(directory)!r}, but two latents are called {item.name!r}.")
        seen.add(item.name)
    return tuple(found)


def _items(path: Path, name: str) -> list[SavedLatent | Failure]:
    try:
        with safe_open(path, "pt") as file:
            shape = tuple(file.get_slice(KEY).get_shape())
    except Exception as error:  # safetensors raises OSError, and an error of its own for whatever is wrong inside
        return [Failure(name, f"Expected a safetensors file with a tensor {KEY!r} at {str(path)!r}, but: {error}.")]
    if len(shape) == 3:
        return [SavedLatent(name, path, None)]
    if len(shape) == 4:
        return [SavedLatent(f"{name}-{row:05d}", path, row) for row in range(shape[0])]
    return [Failure(name, f"Expected a latent (C, h, w) or (B, C, h, w), but {str(path)!r} has shape {shape}.")]
