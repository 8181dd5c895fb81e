"""Telling this package's own sentences about bad input from exceptions that are bugs."""

import sys
import traceback
from pathlib import Path
from textwrap import shorten

PACKAGE = Path(__file__).parent

FIRST_WORD = "Expected"
"""What each sentence of this package begins with; errors of functions in C seem to come from whoever called them."""


def own_sentence(error: BaseException | None) -> str | None:
    """Give the text of the first exception among ``error`` and its causes that this package raised, or ``None``.

    A parser wraps what a constructor raises in a description of all that it tried; the cause is the sentence to show.
    """
    while error is not None:
        raised = traceback.extract_tb(error.__traceback__)
        if raised and Path(raised[-1].filename).is_relative_to(PACKAGE) and str(error).startswith(FIRST_WORD):
            return str(error)
        error = error.__cause__
    return None


def tell(command: str, error: Exception, otherwise: str | None = None) -> int:
    """Print on the standard error what was wrong with a command's input.

    Args:
        command: What the sentence begins with.
        error: What was raised.
        otherwise: What to say of an error that this package did not raise; ``None`` where it is a bug.

    Returns:
        The exit status, 2.

    Raises:
        Exception: ``error`` itself, where there is nothing to say.
    """
    sentence = own_sentence(error) or otherwise
    if sentence is None:
        raise error
    print(f"{command}: error: {sentence}", file=sys.stderr)
    return 2


def innermost(error: BaseException) -> str:
    """Give the text of the cause that has no cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def reason(error: Exception) -> str:
    """Give an error's message as one line without its full stop, to stand inside a sentence."""
    return shorten(str(error), 300, placeholder=" ...").rstrip(".:")
