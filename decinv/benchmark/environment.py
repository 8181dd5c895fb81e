"""What a benchmark runs on, so that its numbers can be judged and repeated."""

import importlib.metadata
import platform
from typing import Any

import torch


def choose_device(device: str | None) -> torch.device:
    """Give the device to compute on, once something could be put there.

    Args:
        device: Its name; by default ``cuda`` where there is one, else ``cpu``.

    Raises:
        ValueError: If this machine has no such device.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
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
