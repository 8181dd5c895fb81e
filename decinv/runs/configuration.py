"""Whether a run that is started again is the same run."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FREE = (
    "ckpt_path",
    "config",
    "data.init_args.shard",
    "data.init_args.workers",
    "fresh",
    "out",
    "plan",
    "plan_budget",
    "trainer.devices",
    "trainer.logger",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.max_steps",
    "trainer.max_time",
    "trainer.num_nodes",
    "trainer.strategy",
)
"""Keys that may change from one start to the next, since no result depends on them."""


def check(path: Path, config: str) -> None:
    """Make sure that a run's configuration says the same as the file of the run that is there.

    Args:
        path: The file.
        config: The configuration as YAML.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If the file holds another configuration; the differing keys are named.
    """
    refuse_missing(path, "configuration")
    try:
        old = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected a run's configuration in {path}, but it is broken; choose another --out.") from error
    if not isinstance(old, dict):
        raise ValueError(f"Expected a run's configuration in {path}, but it holds none; choose another --out.")
    found = differences(old, yaml.safe_load(config))
    if found:
        raise ValueError(
            f"Expected the configuration of the run in {path.parent}, which would be continued, but these keys differ: "
            f"{'; '.join(found)}; choose another --out, or --fresh true to delete that run."
        )


def refuse_missing(path: Path, content: str) -> None:
    """Refuse to continue a run of which a file was deleted that says what it is.

    Args:
        path: The file, in the run's directory.
        content: What it holds, a noun.

    Raises:
        FileNotFoundError: If there is no file.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"Expected the {content} of the run in {path.parent}, which would be continued, but {path.name} is missing; "
            "choose another --out, or --fresh true to delete that run."
        )


def differences(old: Any, new: Any) -> list[str]:
    """Name the keys, but for the free ones, whose values differ, with both values.

    Where a class differs, its options are not compared. Two ways to write one path are the same.
    """
    before, after = dict(_leaves(old)), dict(_leaves(new))
    keys = [key for key in sorted(before.keys() | after.keys()) if not _free(key) and not _same(before, after, key)]
    classes = [key.removesuffix("class_path") for key in keys if key.endswith("class_path")]
    keys = [key for key in keys if not any(key.startswith(f"{prefix}init_args") for prefix in classes)]
    return [f"{key} was {_said(before, key)} and is {_said(after, key)}" for key in keys]


def _same(before: dict[str, Any], after: dict[str, Any], key: str) -> bool:
    if _said(before, key) == _said(after, key):
        return True
    old, new = before.get(key), after.get(key)
    return isinstance(old, str) and isinstance(new, str) and os.path.abspath(old) == os.path.abspath(new)


def _said(leaves: dict[str, Any], key: str) -> str:
    return repr(leaves[key]) if key in leaves else "not there"


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
