"""One table from those of all processes, and whether anything is missing or there twice."""

from collections import Counter
from dataclasses import dataclass

from decinv.rows import Row
from decinv.runs.directory import NUMBER, RunDirectory
from decinv.runs.table import format_cells, read_cells, write_rows
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


def merge(run: RunDirectory) -> Report:
    """Write ``results.csv`` from the tables of all processes, in the order of the inputs, and check it.

    Any process may do that at any time; the table says what is done then.

    Raises:
        FileNotFoundError: If the directory holds no run.
        ValueError: If a table is broken elsewhere than at its end.
    """
    total = len(run.inputs())
    lines: list[str | None] = [None] * total
    repeated: list[int] = []
    statuses: Counter[Status] = Counter()
    by_number: list[Status | None] = [None] * total
    for table in run.tables:
        for cells in run.valid_cells(table):
            number = int(cells[NUMBER])
            if lines[number] is not None:
                repeated.append(number)
            lines[number] = format_cells(cells)
            by_number[number] = Status[cells[STATUS]]
    statuses.update(status for status in by_number if status is not None)
    write_rows(run.results, (line for line in lines if line is not None))
    missing = tuple(number for number, line in enumerate(lines) if line is None)
    return Report(total, statuses, missing, tuple(sorted(set(repeated))))


def is_complete(run: RunDirectory) -> bool:
    """Whether every input of the run has a row, without a look at the latents: quick enough to ask after each process."""
    missing = len(run.inputs())
    seen = bytearray(missing)
    for table in run.tables:
        for cells in read_cells(table):
            number = int(cells[NUMBER])
            missing -= not seen[number]
            seen[number] = 1
    return missing == 0


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
