"""What a benchmark ran on, so that its numbers can be judged and repeated."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


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
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def write_environment(out: Path, options: Mapping[str, Any], device: torch.device) -> str:
    """Write environment.json.

    Args:
        out: The directory to write into; made where there is none.
        options: The benchmark's options; what JSON has no type for, such as a path, is written as its text.
        device: Where the benchmark computes.

    Returns:
        The model of the device.
    """
    environment = {"options": dict(options), **describe_environment(device)}
    out.mkdir(parents=True, exist_ok=True)
    (out / "environment.json").write_text(json.dumps(environment, indent=2, default=str) + "\n", encoding="utf-8")
    return str(environment["device_name"])
