"""Merge the tables of a run's processes, and check that every input has its row: ``python -m decinv.runs RUN``."""

import sys
from argparse import ArgumentParser

from decinv.errors import tell
from decinv.runs.directory import RunDirectory
from decinv.runs.merge import describe, merge


def main(args: list[str] | None = None) -> int:
    """Write ``results.csv`` and say what it holds.

    Returns:
        The exit status: 0 if every input has a usable latent, 3 if all are done and some failed, 1 if any is missing, 2 if
        there is no run, or it is broken.
    """
    parser = ArgumentParser(prog="python -m decinv.runs", description=__doc__)
    parser.add_argument("run", help="directory of a run")
    run = RunDirectory(parser.parse_args(args).run)
    try:
        report = merge(run)
    except (OSError, ValueError) as error:
        advice = f"Expected a run that can be read and written, but got: {error}; change its permissions."
        return tell("decinv.runs", error, advice if isinstance(error, PermissionError) else None)
    print(describe(report, run))
    return 1 if not report.complete else 3 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
