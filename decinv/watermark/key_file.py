"""What keys have in common: a file, safetensors with a fingerprint among its metadata, and latents that they fit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from decinv.errors import reason
from decinv.runs.atomic import create_once


def write_key(path: Path, kind: str, fingerprint: str, settings: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Write a key, whole or not at all.

    Raises:
        FileExistsError: If there is a file already.
        OSError: If none can be written.
    """
    metadata = {"format": kind, "fingerprint": fingerprint, **settings}
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    try:
        fresh = create_once(path, [content])
    except OSError as error:
        raise OSError(f"Expected to write the key to {path}, but got: {reason(error)}; choose another name.") from error
    if not fresh:
        raise FileExistsError(f"Expected a fresh file for the key, but {path} exists; choose another name.")


def read_key(path: Path, kind: str) -> tuple[str, dict[str, str], dict[str, Tensor]]:
    """Read a key: its fingerprint, its settings and its tensors.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If it is no key of this kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected the file of a key, but there is no {path}.")
    try:
        with safe_open(path, "pt") as file:
            settings = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"Expected the file of a key, but {path} cannot be read: {reason(error)}.") from error
    if settings.pop("format", None) != kind:
        raise ValueError(f"Expected a {kind} in {path}, but it holds something else.")
    with refusing_damage(path):
        return settings.pop("fingerprint"), settings, tensors


@contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Say that a file is damaged where what it holds makes no key, within a ``with`` block.

    Raises:
        ValueError: Instead of what the block raised.
    """
    try:
        yield
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise ValueError(f"Expected the file of a key, but {path} is damaged: {reason(error)}.") from error
    except KeyError as error:
        raise ValueError(f"Expected the file of a key, but {path} is damaged: {error} is missing or unknown.") from error


def refuse_changed(path: Path, written: str, read: str) -> None:
    """Refuse a key whose content has another fingerprint than it had when it was written.

    Raises:
        ValueError: If the fingerprints differ.
    """
    if written != read:
        raise ValueError(f"Expected the key {written} in {path}, but its content is that of {read}; it was changed.")


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
