"""Ranges of options, refused in one sentence."""


def refuse_below(least: float, **values: float | None) -> None:
    """Refuse options that are below the least value that they may have.

    Args:
        least: The least value.
        values: The options by name; ``None`` is in range.

    Raises:
        ValueError: If one is below, or nan.
    """
    for name, value in values.items():
        if value is not None and not value >= least:
            raise ValueError(f"Expected `{name}` to be at least {least}, but got {value}.")
