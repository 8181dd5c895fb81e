"""Run a benchmark: ``python -m decinv.benchmark decoder --out DIR``."""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli

from decinv.benchmark.codec import codec
from decinv.benchmark.decoder import decoder

BENCHMARKS: dict[str, Any] = {"decoder": decoder, "codec": codec}
"""All benchmarks: functions whose parameters are the command's options."""

PACKAGE = Path(__file__).parents[1]


def main(args: Sequence[str] | None = None) -> int:
    """Run one benchmark, and say in one sentence what was wrong with an option.

    Args:
        args: Arguments, the benchmark's name first; by default ``sys.argv``.

    Returns:
        The exit status: 0, or 2 after an error that this package raised about its input.
    """
    try:
        auto_cli(BENCHMARKS, args=None if args is None else list(args), as_positional=False, prog="python -m decinv.benchmark")
    except (ValueError, TypeError, OSError) as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if not raised_in.is_relative_to(PACKAGE):
            raise
        print(f"decinv.benchmark: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
