"""One table from those of all processes, and whether anything is missing or there twice."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from decinv.rows import Row
from decinv.runs.directory import RunDirectory
from decinv.runs.table import COLUMNS, format_cells, write_table
from decinv.status import Status

STATUS = Row._fields.index("status")


@dataclass(frozen=True)
class Report:
    """What the tables of a run hold.

    Attributes:
        total: Inputs of the run.
        statuses: Rows by status, each input counted once.
        missing: Numbers of the inputs without a row, or whose latents were lost, in order.
        repeated: Numbers of the inputs with more than one row, in order; the last one counts.
    """

    total: int
    statuses: Counter[Status]
    missing: tuple[int, ...]
    repeated: tuple[int, ...]

    @property
    def complete(self) -> bool:
        """Whether every input has its row."""
        return not self.missing

    @property
    def failed(self) -> int:
        """Number of inputs that ended without a usable latent."""
        return sum(count for status, count in self.statuses.items() if not status.ok)


def survey(run: RunDirectory, keep: Callable[[int, list[str]], None] = lambda number, cells: None) -> Report:
    """Look at the tables of all processes, as they are now.

    Args:
        run: The directory.
        keep: Called with the number and the cells of each row.

    Raises:
        FileNotFoundError: If the directory holds no run.
        ValueError: If a table is broken elsewhere than at its end.
    """
    total = len(run.inputs())
    statuses: list[Status | None] = [None] * total
    repeated: set[int] = set()
    for number, cells in run.numbered(total):
        if statuses[number] is not None:
            repeated.add(number)
        statuses[number] = COLUMNS[STATUS].parse(cells[STATUS])
        keep(number, cells)
    missing = tuple(number for number, status in enumerate(statuses) if status is None)
    return Report(total, Counter(status for status in statuses if status is not None), missing, tuple(sorted(repeated)))


def merge(run: RunDirectory) -> Report:
    """Write ``results.csv`` from the tables of all processes, in the order of the inputs, and say what it holds.

    Any process may do that at any time; the table says what is done then.

    Raises:
        FileNotFoundError: If the directory holds no run.
        ValueError: If a table is broken elsewhere than at its end.
    """
    lines: dict[int, str] = {}
    report = survey(run, lambda number, cells: lines.update({number: format_cells(cells)}))
    write_table(run.results, Row._fields, (lines[number] for number in sorted(lines)))
    return report


def merge_if_complete(run: RunDirectory) -> bool:
    """Write ``results.csv``, as ``merge`` does, if every input has its row, and say whether it has.

    Of several processes the last one finds it so. What is there before may be the table of an earlier start.

    Raises:
        FileNotFoundError: If the directory holds no run.
        ValueError: If a table is broken elsewhere than at its end.
    """
    if not survey(run).complete:  # which holds no rows, unlike a merge
        return False
    merge(run)
    return True


def describe(report: Report, run: RunDirectory) -> str:
    """Say what a run's tables hold, line by line."""
    lines = [f"{run.path}: {report.total - len(report.missing)} of {report.total} inputs are done"]
    lines += [f"  {status.name}: {count}" for status, count in sorted(report.statuses.items())]
    if report.repeated:
        lines.append(f"  more than one row, of which the last counts: {len(report.repeated)} ({ranges(report.repeated)})")
    if report.missing:
        lines.append(
            f"  missing: {len(report.missing)} ({ranges(report.missing)}); the same command makes them, where no other process "
            "still does"
        )
    return "\n".join(lines)


def ranges(numbers: tuple[int, ...], limit: int = 8) -> str:
    """Write numbers as ranges, such as ``3, 8-15``; of more than ``limit`` ranges the first ones, and how many follow."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    texts = [str(low) if low == high else f"{low}-{high}" for low, high in found[:limit]]
    if len(found) > limit:
        texts.append(f"and {len(found) - limit} more")
    return ", ".join(texts)
