"""Files of latents: one for each chunk, with one tensor for each sample, by its name."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from decinv.runs.atomic import replacing

METADATA = "__metadata__"
"""What the format keeps for itself among the names."""


def write_latents(path: Path, latents: Mapping[str, Tensor], metadata: Mapping[str, str], shared: bool = False) -> None:
    """Write latents, at once or not at all.

    Args:
        path: The file, in the safetensors format.
        latents: Raw latents ``(C, h, w)`` by name; bytes of a name that are no UTF-8 are spelt out.
        metadata: What else the file says, as text.
        shared: Whether several processes may write the file at the same time.
    """
    with replacing(path, shared) as partial:
        tensors = {name.encode("utf-8", "backslashreplace").decode(): latent.contiguous() for name, latent in latents.items()}
        save_file(tensors, partial, dict(metadata))


def update_latents(
    path: Path, latents: Mapping[str, Tensor], details: Mapping[str, object], metadata: Mapping[str, str], done: Collection[str]
) -> None:
    """Write the latents of a chunk, and keep what the file holds of other samples, or of those that are done.

    The chunks of a run that goes on may be other ones, where files were changed meanwhile, and begin with the same sample.

    Args:
        path: The file, in the safetensors format.
        latents: Raw latents by name.
        details: What is known of each sample, by name.
        metadata: What else the file says, as text.
        done: Names of the samples whose rows were written before.
    """
    kept, told = {}, {}
    if others := {name for name in names_in(path) if name in done or name not in latents}:
        with safe_open(path, "pt") as file:
            kept = {name: file.get_tensor(name) for name in others}
            told = json.loads((file.metadata() or {}).get("samples", "{}"))
    samples = {**details, **{name: told[name] for name in kept if name in told}}
    write_latents(path, {**latents, **kept}, {**metadata, "samples": json.dumps(samples)})


def noise_file(latents: str) -> str:
    """Name the file of the noise that belongs to a file of latents, both relative to the run directory."""
    return f"noise/{Path(latents).name}"


def read_latent(path: Path, name: str) -> Tensor:
    """Read one latent.

    Raises:
        FileNotFoundError: If there is no such file.
        KeyError: If the file holds no latent of that name.
    """
    with safe_open(path, "pt") as file:
        if name not in file.keys():  # noqa: SIM118 (it is no dictionary)
            raise KeyError(f"Expected a latent called {name!r} in {path}, but there is none.")
        latent: Tensor = file.get_tensor(name)
    return latent


def names_in(path: Path) -> frozenset[str]:
    """Give the names of the latents that a file holds whole; none where it is missing, broken or cut short.

    Only the header is read, and compared with the file's size. Where it says that there is noise beside it, the same goes for
    the file of that; noise that is not finite is not there.
    """
    header = _header(path)
    metadata = header.pop(METADATA, {})
    beside = metadata.get("noise") if isinstance(metadata, dict) else None
    return frozenset() if beside and not _header(path.parent.parent / beside) else frozenset(header)


def _header(path: Path) -> dict[str, Any]:
    """Give the header of a whole file; nothing of another."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if length > size:
                return {}
            header: dict[str, Any] = json.loads(file.read(length))
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != METADATA), default=0)
        return header if size == 8 + length + end else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
