"""Merge the tables of a run's processes, and check that every input has its row: ``python -m decinv.runs RUN``."""

import sys
from argparse import ArgumentParser

from decinv.runs.directory import RunDirectory
from decinv.runs.merge import Report, merge, ranges


def main(args: list[str] | None = None) -> int:
    """Write ``results.csv`` and say what it holds.

    Returns:
        The exit status: 0 if every input has a usable latent, 3 if all are done and some failed, 1 if any is missing, 2 if
        there is no run.
    """
    parser = ArgumentParser(prog="python -m decinv.runs", description=__doc__)
    parser.add_argument("run", help="directory of a run")
    run = RunDirectory(parser.parse_args(args).run)
    try:
        report = merge(run)
    except (OSError, ValueError) as error:
        print(f"decinv: error: {error}", file=sys.stderr)
        return 2
    print(describe(report, run))
    return 1 if not report.complete else 3 if report.failed else 0


def describe(report: Report, run: RunDirectory) -> str:
    """Say what a run's tables hold, line by line."""
    lines = [f"{run.results}: {report.total - len(report.missing)} of {report.total} inputs"]
    lines += [f"  {status.name}: {count}" for status, count in sorted(report.statuses.items())]
    if report.repeated:
        lines.append(f"  more than one row, of which the last counts: {len(report.repeated)} ({ranges(report.repeated)})")
    if report.missing:
        lines.append(f"  missing: {len(report.missing)} ({ranges(report.missing)}); run the same command again to make them")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
