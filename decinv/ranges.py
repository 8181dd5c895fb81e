"""Ranges of options, refused in one sentence."""

import math
from numbers import Integral


def refuse_fractions(**values: object) -> None:
    """Refuse what is no whole number, of Python or NumPy.

    Args:
        values: The arguments by name.

    Raises:
        TypeError: If one is none.
    """
    for name, value in values.items():
        if not isinstance(value, Integral):
            raise TypeError(f"Expected `{name}` to be a whole number, but got {value!r}.")


def refuse_words(**values: object) -> None:
    """Refuse texts, as a table or a shell gives them, and collections where a number is meant.

    Args:
        values: The options by name.

    Raises:
        TypeError: If one is none.
    """
    for name, value in values.items():
        if isinstance(value, str | bytes | list | tuple | dict | set):
            raise TypeError(f"Expected `{name}` to be a number, but got {value!r}.")


def refuse_below(least: float, **values: float | None) -> None:
    """Refuse options that are below the least value that they may have, or infinite.

    Args:
        least: The least value.
        values: The options by name; ``None`` is in range.

    Raises:
        TypeError: If one is no number.
        ValueError: If one is below, infinite, or nan.
    """
    refuse_words(**values)
    for name, value in values.items():
        if value is not None and not least <= value < math.inf:
            finite = " and finite" if value == math.inf else ""
            raise ValueError(f"Expected `{name}` to be at least {least}{finite}, but got {value}.")


def refuse_not_above(bound: float, **values: float | None) -> None:
    """Refuse options that are not above a bound, or infinite.

    Args:
        bound: The bound.
        values: The options by name; ``None`` is in range.

    Raises:
        TypeError: If one is no number.
        ValueError: If one is not above, infinite, or nan.
    """
    refuse_words(**values)
    for name, value in values.items():
        if value is not None and not bound < value < math.inf:
            finite = " and finite" if value == math.inf else ""
            raise ValueError(f"Expected `{name}` to be above {bound}{finite}, but got {value}.")
