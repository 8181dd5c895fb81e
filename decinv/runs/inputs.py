"""The list of a run's inputs, on disk: all processes and all restarts of a run see the same one."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from decinv.runs.atomic import create_once


class Input(NamedTuple):
    """One input of a run.

    Attributes:
        number: Its number in the list of inputs, from 0.
        name: Its unique name.
        path: The file that it is in; empty where it is in none.
        part: Where the file holds several inputs, which one: a row or a key.
        prompt: The prompt that it is inverted with, where the list says so.
    """

    number: int
    name: str
    path: str = ""
    part: int | str | None = None
    prompt: str | None = None


class InputList(Collection[Input]):
    """Inputs in a file of one JSON list a line, read from the start each time, so that a million take no memory."""

    def __init__(self, path: Path) -> None:
        """Open the list.

        Raises:
            FileNotFoundError: If there is none.
        """
        self.path = path
        with path.open("rb") as file:
            self._count = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))

    @classmethod
    def create(cls, path: Path, inputs: Callable[[], Iterable[Input]]) -> "InputList":
        """Write the list, unless it is there already, and open it."""
        if not path.exists():
            create_once(path, (f"{json.dumps(item[1:])}\n".encode("ascii") for item in inputs()))
        return cls(path)

    def __len__(self) -> int:
        """Number of inputs."""
        return self._count

    def __iter__(self) -> Iterator[Input]:
        """Give the inputs in order.

        Raises:
            ValueError: If the file is broken.
        """
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                try:
                    yield Input(number, *json.loads(line))
                except (ValueError, TypeError) as error:
                    raise ValueError(
                        f"Expected the list of a run's inputs in {self.path}, but line {number + 1} is broken: {error}; choose "
                        "another --out, or --fresh true to delete that run."
                    ) from error

    def __contains__(self, item: object) -> bool:
        """Whether an input is in the list."""
        return any(item == other for other in self)
