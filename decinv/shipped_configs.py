"""Where a path such as ``configs/update/anderson.yaml`` leads to if the working directory has no such file."""

from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parent

PLACES = (PACKAGE, PACKAGE.parent)
"""What may hold ``configs``: the package once it is installed, and the repository that it is run from."""


def shipped(path: str) -> str:
    """Give the place of a YAML file below ``configs/`` that only the package has; any other path stays as it is."""
    if not path.startswith("configs/") or not path.endswith(".yaml") or Path(path).exists():
        return path
    return next((str(place / path) for place in PLACES if (place / path).is_file()), path)


def with_shipped(words: Iterable[str]) -> list[str]:
    """Do that with each word of a command line, and with what follows the last ``=`` in it."""
    parts = [word.rpartition("=") for word in words]
    return [option + sign + shipped(value) for option, sign, value in parts]
