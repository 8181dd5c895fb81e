"""Raw latents in safetensors files, as inversions write them."""

from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from decinv.runs import Input

KEY = "latent"
"""Key of a tensor that is named after its file."""


def list_latents(directory: str | Path) -> tuple[Input, ...]:
    """List the latents of all safetensors files below a directory, hidden files left out, in the order of the files' names.

    A file holds one latent ``(C, h, w)`` or several ``(B, C, h, w)`` in the tensor 'latent', or any number of them in tensors
    ``(C, h, w)`` of other keys, as runs write them. Those of other keys are named by their keys. The tensor 'latent' is named
    by the file's path below the directory, without suffix; ``-00000``, ``-00001``, ... follow where it holds several. Only
    the files' headers are read.

    Args:
        directory: Where the files are; ``~`` is the home directory.

    Returns:
        The latents. A file that cannot be read, or has no latents, is listed as one whose ``part`` is ``None``, and loading
        it says why.

    Raises:
        FileNotFoundError: If there is no such directory, or no safetensors file below it.
        ValueError: If two latents have one name.
    """
    root = Path(directory).expanduser()
    paths = sorted(path for path in root.rglob("*.safetensors") if not path.name.startswith("."))
    if not paths:
        raise FileNotFoundError(f"Expected a directory with safetensors files, but there is none at {str(directory)!r}.")
    found = ((name, path, part) for path in paths for name, part in _parts(path, path.relative_to(root).with_suffix("")))
    items = tuple(Input(number, name, str(path), part) for number, (name, path, part) in enumerate(found))
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            raise ValueError(f"Expected unique names in {str(directory)!r}, but two latents are called {item.name!r}.")
        seen.add(item.name)
    return items


def load_latent(item: Input, channels: int) -> Tensor:
    """Read a latent that ``list_latents`` found.

    Args:
        item: The latent.
        channels: Channels that it must have.

    Returns:
        The raw latent with shape ``(channels, h, w)``, float32.

    Raises:
        ValueError: If there is none, or it has other channels, or values that are no finite floating-point numbers.
    """
    try:
        with safe_open(item.path, "pt") as file:
            if isinstance(item.part, int):
                latent: Tensor = file.get_slice(KEY)[item.part : item.part + 1][0]
            else:
                latent = file.get_tensor(item.part or KEY)
    except Exception as error:  # safetensors raises OSError, and an error of its own for whatever is wrong inside
        raise ValueError(f"Expected a safetensors file with latents at {item.path!r}, but: {error}.") from error
    if latent.ndim != 3 or latent.shape[0] != channels:
        raise ValueError(
            f"Expected a latent (C, h, w) with {channels} channels, but {item.path!r} has one of shape {tuple(latent.shape)}."
        )
    if not latent.is_floating_point() or not latent.isfinite().all():
        raise ValueError(f"Expected a latent of finite floating-point numbers, but {item.path!r} has others.")
    return latent.float()


def latent_size(item: Input) -> tuple[int, int] | None:
    """Give height and width in cells of a listed latent from its file's header alone; ``None`` where that has none."""
    try:
        with safe_open(item.path, "pt") as file:
            height, width = file.get_slice(item.part if isinstance(item.part, str) else KEY).get_shape()[-2:]
    except Exception:  # as in ``load_latent``, which says what is wrong
        return None
    return height, width


def _parts(path: Path, stem: Path) -> Iterator[tuple[str, int | str | None]]:
    """Give the names of a file's latents, each with the row or the key that holds it."""
    name = stem.as_posix()
    try:
        with safe_open(path, "pt") as file:
            keys = sorted(file.keys())
            shape = tuple(file.get_slice(KEY).get_shape()) if keys == [KEY] else None
    except Exception:  # as in ``load_latent``, which says what is wrong
        keys, shape = [], None
    if shape is not None and len(shape) == 4:
        yield from ((f"{name}-{row:05d}", row) for row in range(shape[0]))
    elif shape is not None or not keys:
        yield name, None
    else:
        yield from ((key, key) for key in keys)
