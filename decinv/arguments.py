"""Options of commands that are functions, and what is wrong with one in one sentence."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, auto_cli


class SentenceParser(ArgumentParser):
    """A parser that says in one sentence what is wrong, where jsonargparse prints its usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the sentence, unless another parser asks this one whether a value would do.

        Raises:
            ValueError: Always, in a command's own parsers.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        command = self.prog.replace(" [options]", "")
        raise ValueError(f"Expected usable options, but: {' '.join(message.split())}; see `{command} --help`.") from ex


def run_command(commands: Mapping[str, Callable[..., Any]], args: Sequence[str] | None, prog: str) -> None:
    """Call one of several functions with the options of the command line.

    Args:
        commands: The functions by their names; their parameters are the options.
        args: Arguments, a function's name first; by default ``sys.argv``.
        prog: What the command is called.

    Raises:
        ValueError: If the options are none of that function.
    """
    words = list(sys.argv[1:] if args is None else args)
    chosen: dict[str, Any] = {name: commands[name] for name in words[:1] if name in commands}
    # A parser of one takes a tenth of the time of one of all.
    auto_cli(chosen or {**commands}, args=words, as_positional=False, prog=prog, parser_class=SentenceParser)
