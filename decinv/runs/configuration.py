"""Whether a run that is started again is the same run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from decinv.runs.atomic import create_once

FREE = (
    "config",
    "data.init_args.shard",
    "data.init_args.workers",
    "fresh",
    "out",
    "trainer.devices",
    "trainer.logger",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.num_nodes",
    "trainer.strategy",
)
"""Keys that may change from one start to the next, since no result depends on them."""


def settle(path: Path, config: str) -> bool:
    """Write a run's configuration, or make sure that the one that is there says the same.

    Args:
        path: The file.
        config: The configuration as YAML.

    Returns:
        Whether the file was written: whether this is the run's first start.

    Raises:
        ValueError: If the file holds another configuration; the differing keys are named.
    """
    if create_once(path, config.encode()):
        return True
    try:
        old = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected a run's configuration in {path}, but it is broken; choose another --out.") from error
    found = differences(old, yaml.safe_load(config))
    if found:
        raise ValueError(
            f"Expected the configuration of the run in {path.parent}, which would be continued, but these keys differ: "
            f"{'; '.join(found)}; choose another --out, or --fresh true to delete that run."
        )
    return False


def differences(old: Any, new: Any) -> list[str]:
    """Name the keys, but for the free ones, whose values differ, with both values."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    keys = sorted(before.keys() | after.keys())
    missing = "nothing"
    return [
        f"{key} was {before.get(key, missing)!r} and is {after.get(key, missing)!r}"
        for key in keys
        if before.get(key, missing) != after.get(key, missing) and not _free(key)
    ]


def _free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give the values of nested dictionaries and lists by their dotted keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None or not value:
        yield prefix, value
        return
    for key, item in items:
        yield from _leaves(item, f"{prefix}.{key}" if prefix else str(key))
