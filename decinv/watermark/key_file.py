"""What keys have in common: a file, safetensors with a fingerprint among its metadata, and latents that they fit."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from decinv.errors import reason
from decinv.runs.atomic import create

Shape = tuple[int, int, int]
"""Shape (C, H, W) of the latents that carry a key."""


class Fingerprinted(Protocol):
    """What is recognised by its content."""

    @property
    def fingerprint(self) -> str:
        """A few digits of its content's hash."""


Key = TypeVar("Key", bound=Fingerprinted)


def write_key(path: Path, kind: str, fingerprint: str, settings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Write a key, whole or not at all.

    Raises:
        FileExistsError: If there is a file already.
        OSError: If none can be written.
    """
    metadata = {"format": kind, "fingerprint": fingerprint, **settings}
    create(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata), "the key")


def load_key(path: Path, kind: str, make: Callable[[Shape, dict[str, str], dict[str, Tensor]], Key]) -> Key:
    """Read a key.

    Args:
        path: Its file.
        kind: What the file says that it is.
        make: Makes the key of the shape of its latents, its settings and its tensors.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If it is no key of this kind, or not the one that was written.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected the file of a key, but there is no {path}.")
    try:
        with safe_open(path, "pt") as file:
            settings = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"Expected the file of a key, but {path} cannot be read: {reason(error)}.") from error
    if (found := settings.pop("format", "something else")) != kind:
        raise ValueError(f"Expected a {kind} in {path}, but it holds {found}.")
    try:
        written = settings.pop("fingerprint")
        channels, height, width = map(int, settings["shape"].split(","))
        key = make((channels, height, width), settings, tensors)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise ValueError(f"Expected the file of a key, but {path} is damaged: {reason(error)}.") from error
    except KeyError as error:
        raise ValueError(f"Expected the file of a key, but {path} is damaged: {error} is missing or unknown.") from error
    if key.fingerprint != written:
        raise ValueError(f"Expected the key {written} in {path}, but its content is that of {key.fingerprint}; it was changed.")
    return key


def refuse_impossible_shape(shape: tuple[int, ...]) -> None:
    """Refuse a shape that no latent has.

    Raises:
        ValueError: If it is not three numbers of at least 1.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"Expected `shape` to be three numbers (C, H, W) of at least 1, but got {tuple(shape)}.")


def refuse_other_shape(latent: Tensor, shape: tuple[int, int, int], fingerprint: str) -> None:
    """Refuse latents that a key was not made for.

    Raises:
        ValueError: If ``latent`` is not ``(B, C, H, W)`` with the key's shape.
    """
    if latent.ndim != 4 or tuple(latent.shape[1:]) != shape:
        raise ValueError(
            f"Expected latents of shape (B, {', '.join(map(str, shape))}), for which the key {fingerprint} was made, but got "
            f"{tuple(latent.shape)}; use the key that the images were marked with."
        )
