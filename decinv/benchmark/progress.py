"""The progress bar of a benchmark."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def ticking(total: int) -> Iterator[Callable[[str], None]]:
    """Show a progress bar that goes when it is done.

    Args:
        total: How often it will move.

    Yields:
        What moves it by one, given a word on what comes next.
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=total)

        def tick(what: str) -> None:
            progress.update(task, description=what, advance=1, refresh=True)

        yield tick
