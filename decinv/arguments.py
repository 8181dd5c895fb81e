"""Options of commands that are functions, and what is wrong with one in one sentence."""

from typing import NoReturn

from jsonargparse import ArgumentParser


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
