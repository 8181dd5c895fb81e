"""Find a diffusers autoencoder in a directory or on the hub, and load its weights."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import diffusers
import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from decinv.codecs.drivers import UNSUPPORTED
from decinv.errors import reason
from decinv.weights import loading, refuse_incomplete, variant_of, without_weights

BUNDLED = Path(__file__).parent / "weights"
"""The directory of the codec that the package ships."""

FOLDERS = (".", "vae", "vqvae", "movq")
"""Where below a path an autoencoder is looked for: at the path itself, and where pipelines keep theirs."""

CONFIG = "config.json"
WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model-*.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
)
VARIANTS = ("diffusion_pytorch_model.*.safetensors", "diffusion_pytorch_model.safetensors.index.*.json")
PICKLES = ("diffusion_pytorch_model*.bin", "diffusion_pytorch_model.bin.index.json")


def load_autoencoder(path: str, subfolder: str | None, dtype: torch.dtype, allow_pickle: bool) -> diffusers.ModelMixin:
    """Load an autoencoder with all its weights; within ``with torch.device("meta")`` from its config alone, without weights.

    Args:
        path: ``bundled``, a directory saved by diffusers (an autoencoder or a pipeline), or a hub id.
        subfolder: Subfolder of ``path`` that holds the autoencoder; by default it is found.
        dtype: Number format of the weights.
        allow_pickle: Whether to read weights from pickles where there are no safetensors.

    Returns:
        The autoencoder, on the CPU, or on the meta device where that is the default device.

    Raises:
        FileNotFoundError: If there is no autoencoder at ``path``, or it has no weights.
        ValueError: If its config or its weights are broken, or it is no autoencoder.
    """
    folders = (subfolder,) if subfolder else FOLDERS
    directory = BUNDLED if path == "bundled" else Path(path).expanduser()
    if directory.is_dir() or path == "bundled":
        return _load(directory / _find(directory, folders), dtype, allow_pickle)
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise FileNotFoundError(
            f"Expected `path` to be 'bundled', a directory or a hub id like 'owner/name', but got {path!r}."
        )
    return _load(_download(path, folders, allow_pickle), dtype, allow_pickle)


def _find(directory: Path, folders: tuple[str, ...]) -> str:
    """Give the first of ``folders`` below ``directory`` with a config."""
    for folder in folders:
        if (directory / folder / CONFIG).is_file():
            return folder
    looked = ", ".join(str(PurePosixPath(folder, CONFIG)) for folder in folders)
    raise FileNotFoundError(f"Expected an autoencoder saved by diffusers in {directory}, but it has none of {looked}.")


def _download(path: str, folders: tuple[str, ...], allow_pickle: bool) -> Path:
    """Give the autoencoder's directory in the local cache of the hub, filled from the hub where it lacks files.

    Variants of the weights, such as fp16, and pickles are fetched only where there are no others.
    """
    try:
        configs = [str(PurePosixPath(folder, CONFIG)) for folder in folders]
        root = Path(snapshot_download(path, allow_patterns=configs))
        folder = _find(root, folders)
        if without_weights():
            return root / folder
        for names in (WEIGHTS, VARIANTS, PICKLES if allow_pickle else ()):
            root = Path(snapshot_download(path, allow_patterns=[str(PurePosixPath(folder, name)) for name in (CONFIG, *names)]))
            if any(any((root / folder).glob(name)) for name in names):
                break
        return root / folder
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"Expected an autoencoder at the hub id {path!r}, of which there is no directory here, but got: {reason(error)}."
        ) from error


def _load(directory: Path, dtype: torch.dtype, allow_pickle: bool) -> diffusers.ModelMixin:
    kind = _class(directory / CONFIG)
    if without_weights():
        return _skeleton(kind, directory, dtype)
    safe = sorted(directory.glob("*.safetensors"))
    if not safe and not allow_pickle:
        raise FileNotFoundError(
            f"Expected weights as safetensors in {directory}, but found none; convert them, or set `allow_pickle` "
            "to read pickles that you trust."
        )
    for file in safe:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"Expected whole weights in {file}, but got: {reason(error)}; copy or download it again."
            ) from error
    pinned = kind._keep_in_fp32_modules or ()
    options: dict[str, Any] = {
        "torch_dtype": torch.float32 if pinned else dtype,
        "use_safetensors": bool(safe),
        "variant": variant_of(safe),
    }
    # A class that pins modules to float32 asks for another package to load them; a class of the same name does not.
    plain: Any = type(kind.__name__, (kind,), {"_keep_in_fp32_modules": None}) if pinned else kind
    with loading(kind.__name__, directory), _quiet():
        model, info = plain.from_pretrained(
            str(directory), low_cpu_mem_usage=False, output_loading_info=True, local_files_only=True, **options
        )
    _cast(model, kind, dtype)
    refuse_incomplete(model, info["missing_keys"], info["unexpected_keys"], directory)
    return model


def _skeleton(kind: Any, directory: Path, dtype: torch.dtype) -> diffusers.ModelMixin:
    """Make the autoencoder that a config describes, with the shapes of its weights only."""
    with loading(f"config of {kind.__name__}", directory), _quiet():
        model = kind.from_config(kind.load_config(str(directory), local_files_only=True))
    _cast(model, kind, dtype)
    return model


def _cast(model: diffusers.ModelMixin, kind: Any, dtype: torch.dtype) -> None:
    """Give weights a number format, as loading need not where a class makes parts of them by itself, but for pinned ones."""
    pinned = set(kind._keep_in_fp32_modules or ())
    for name, weight in model.named_parameters():
        if not pinned & set(name.split(".")):
            weight.data = weight.data.to(dtype)


def _class(config: Path) -> Any:
    """Give the autoencoder class that a config names."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected {config} to be a config saved by diffusers, but got: {reason(error)}.") from error
    name = content.get("_class_name") if isinstance(content, dict) else None
    if name in UNSUPPORTED:
        raise ValueError(f"Expected an autoencoder of images or clips in {config.parent}, but got {name}: {UNSUPPORTED[name]}.")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, diffusers.ModelMixin):
        raise ValueError(f"Expected {config} to name a model of diffusers in `_class_name`, but got {name!r}.")
    if not hasattr(kind, "encode") or not hasattr(kind, "decode"):
        raise ValueError(f"Expected an autoencoder in {config.parent}, but got {name}, which has no `encode` and `decode`.")
    return kind


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep diffusers' remarks on loading off the terminal; what they tell of is checked here."""
    verbosity = diffusers.utils.logging.get_verbosity()
    diffusers.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers.utils.logging.set_verbosity(verbosity)
