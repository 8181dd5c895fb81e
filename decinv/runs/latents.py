"""Files of latents: one for each chunk, with one tensor for each sample, by its name."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from decinv.runs.atomic import replacing


def write_latents(path: Path, latents: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write latents, at once or not at all.

    Args:
        path: The file, in the safetensors format.
        latents: Raw latents ``(C, h, w)`` by name; bytes of a name that are no UTF-8 are spelt out.
        metadata: What else the file says, as text.
    """
    with replacing(path) as partial:
        tensors = {name.encode("utf-8", "backslashreplace").decode(): latent.contiguous() for name, latent in latents.items()}
        save_file(tensors, partial, dict(metadata))


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

    Only the header is read, and compared with the file's size.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if length > size:
                return frozenset()
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        return frozenset(header) if size == 8 + length + end else frozenset()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return frozenset()
