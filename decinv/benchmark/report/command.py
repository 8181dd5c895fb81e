"""One page of what benchmarks and runs wrote: ``python -m decinv.benchmark report RUN_DIR... --out report.html``."""

from collections.abc import Sequence
from pathlib import Path

from decinv.arguments import SentenceParser
from decinv.benchmark.report.directory import describe, known
from decinv.benchmark.report.html import page
from decinv.runs.atomic import create


def report(runs: Sequence[Path], out: Path = Path("report.html"), rows: int = 200, pictures: int = 24) -> None:
    """Make one self-contained HTML page of the directories of benchmarks and runs: tables, figures and pictures.

    The page needs no network and no other file. Of a benchmark it shows table.md, or its CSV files, the figures and
    environment.json; of a run the averages and the first rows of results.csv, the pictures and config.yaml, and how many inputs
    have no row, if any. What cannot be read is named on the page and costs nothing else.

    Args:
        runs: The directories; one that holds neither table.csv nor results.csv stands for those of its folders that do.
        out: The page.
        rows: Largest number of rows of a table, at least 1; the rest is counted.
        pictures: Largest number of pictures of a folder, at least 0; the rest is counted.

    Raises:
        FileExistsError: If ``out`` exists.
        OSError: If it cannot be written.
        ValueError: If a directory is none of a benchmark or a run, or a number is out of range.
    """
    if rows < 1 or pictures < 0:
        raise ValueError(f"Expected `rows` to be at least 1 and `pictures` at least 0, but got {rows} and {pictures}.")
    found = [directory for run in runs for directory in directories(run)]
    if out.exists():
        raise FileExistsError(f"Expected --out to name a fresh file, but {out} exists; choose another.")
    sections = [describe(directory, rows, pictures) for directory in found]
    content = page("decinv report", sections).encode("utf-8", "replace")  # names of files need not be UTF-8
    create(out, content, "the page")
    print(f"Wrote {out}: {len(found)} {'section' if len(found) == 1 else 'sections'}, {len(content) / 2**20:.1f} MiB.")


def directories(run: Path) -> list[Path]:
    """Give the directory itself if a benchmark or a run wrote it, or those of its folders that one wrote.

    Raises:
        ValueError: If there are none.
    """
    found = [run] if known(run) else sorted(path for path in run.glob("*") if known(path))
    if not found:
        raise ValueError(
            f"Expected the directory of a benchmark or a run, but there is no table.csv or results.csv in {run}. If it is "
            f"a run that was interrupted, start it again, or merge what is done with `python -m decinv.runs {run}`."
        )
    return found


def report_command(args: Sequence[str]) -> None:
    """Make a report from the arguments of the command line, which names the directories without an option."""
    parser = SentenceParser(prog="python -m decinv.benchmark report", description=(report.__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="Directories of benchmarks and runs.")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="The page; refused where it exists.")
    parser.add_argument("--rows", type=int, default=200, help="Largest number of rows of a table; the rest is counted.")
    parser.add_argument("--pictures", type=int, default=24, help="Largest number of pictures of a folder; the rest is counted.")
    options = parser.parse_args(list(args))
    report(options.runs, options.out, options.rows, options.pictures)
