"""What a benchmark ran on, so that its numbers can be judged and repeated."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def choose_device(name: str | None) -> torch.device:
    """Give the device to compute on, once something could be put there.

    Args:
        name: Such as ``cpu`` or ``cuda:1``; ``None`` for ``cuda`` where there is one, else ``cpu``.

    Raises:
        ValueError: If this machine has no such device.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises the latter
        reason = str(error).splitlines()[0]
        raise ValueError(f"Expected `device` to name a device of this machine, but got {name!r}: {reason}") from error


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Give versions, device and arithmetic.

    Args:
        device: Where the benchmark computes.

    Returns:
        Values that JSON can hold, by name.
    """
    cuda = device.type == "cuda"
    return {
        "versions": {name: importlib.metadata.version(name) for name in ("decinv", "torch", "diffusers")},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "tf32_convolutions": cuda and torch.backends.cudnn.allow_tf32,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def write_environment(out: Path, options: Mapping[str, Any], device: torch.device) -> str:
    """Write environment.json: the command's options, and ``describe_environment``.

    Args:
        out: The directory to write into; made where there is none.
        options: The options, which JSON can hold.
        device: Where the benchmark computes.

    Returns:
        A phrase on the machine, for captions.
    """
    out.mkdir(parents=True, exist_ok=True)
    environment = describe_environment(device)
    text = json.dumps({"options": dict(options), **environment}, indent=2)
    (out / "environment.json").write_text(text + "\n", encoding="utf-8")
    return f"{environment['device_name']} ({device}), threads: {environment['threads']}"
