"""Configuration files, looked at before they are parsed, while it is known which file and line is wrong, and written."""

from collections.abc import Hashable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import torch
import yaml


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(
                    problem=f"the key '{key.value}' is there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _PlainDumper(yaml.SafeDumper):
    """Writes members of an enumeration and devices, as Lightning's callbacks have them for defaults, as what names them."""


_PlainDumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))
_PlainDumper.add_representer(torch.device, lambda dumper, device: dumper.represent_data(str(device)))


def to_yaml(content: Any) -> str:
    """Write a configuration as YAML, its keys in their order."""
    return yaml.dump(content, Dumper=_PlainDumper, default_flow_style=False, allow_unicode=True, sort_keys=False)


def check_files(words: Sequence[str]) -> None:
    """Check every file that follows ``-c`` or ``--config``.

    Args:
        words: The command line.

    Raises:
        ValueError: If a file is no YAML, has a key twice, has no keys at all, or describes a single class.
        FileNotFoundError: If there is no such file.
    """
    for word, following in zip(words, [*words[1:], ""], strict=False):
        option, _, value = word.partition("=")
        if option in ("-c", "--config"):
            _check(value or following)


def _check(name: str) -> None:
    if not name or "://" in name:
        return
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"Expected -c to name a configuration file, but there is none at '{name}'.")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1},"
        problem = getattr(error, "problem", None) or str(error)
        raise ValueError(f"Expected '{name}' to be YAML, but{where} {problem}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"Expected '{name}' to hold keys and values, such as `trainer:`, but got {_kind(content)}.")
    if "class_path" in content:
        raise ValueError(
            f"Expected '{name}' to hold a part of a configuration, such as `trainer:`, but it describes one class, "
            f"{content['class_path']}; name the file behind the option for that class, such as `--model.update`."
        )


def _kind(content: object) -> str:
    return "an empty file" if content is None else f"a {type(content).__name__}"
