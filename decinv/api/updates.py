"""Update rules from the YAML fragments of the command line."""

from pathlib import Path

import yaml
from jsonargparse import ArgumentParser

from decinv.shipped_configs import shipped
from decinv.updates.base import UpdateFactory


def load_update(path: str | Path) -> UpdateFactory:
    """Read an update rule from a YAML fragment, as ``--model.update PATH`` on the command line does.

    Args:
        path: A YAML file with ``class_path`` and ``init_args`` of an optimizer.

    Returns:
        A callable from parameters to the optimizer.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the fragment names no optimizer, or an option that it does not have.
    """
    path = shipped(str(path))
    if not Path(path).is_file():
        raise FileNotFoundError(f"Expected a YAML fragment of an update rule, but there is no file {str(path)!r}.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--update", type=UpdateFactory)
    try:
        fragment = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        factory: UpdateFactory = parser.instantiate(parser.parse_object({"update": fragment}))["update"]
    except Exception as error:  # jsonargparse raises its own and argparse's errors, which share no base
        raise ValueError(f"Expected {str(path)!r} to describe an update rule, but: {error}") from error
    return factory
