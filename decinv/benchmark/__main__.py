"""Run a benchmark, or report on some: ``python -m decinv.benchmark decoder --out DIR``."""

import sys
from collections.abc import Sequence
from typing import Any

from decinv.arguments import run_command
from decinv.benchmark.clip.command import clip
from decinv.benchmark.cocoercivity.command import cocoercivity
from decinv.benchmark.codec import codec
from decinv.benchmark.decoder.command import decoder
from decinv.benchmark.editing.command import editing
from decinv.benchmark.frames.command import frames
from decinv.benchmark.invertibility.command import invertibility
from decinv.benchmark.long_runs.index import index
from decinv.benchmark.long_runs.soak import soak
from decinv.benchmark.overhead.command import overhead
from decinv.benchmark.report.command import report, report_command
from decinv.benchmark.robustness.command import robustness
from decinv.benchmark.rules.command import rules
from decinv.benchmark.sampler.command import sampler
from decinv.benchmark.stress.command import stress
from decinv.benchmark.thresholds.command import thresholds
from decinv.benchmark.watermark.command import watermark
from decinv.errors import tell
from decinv.host_memory import HOST_MEMORY
from decinv.shipped_configs import with_shipped

BENCHMARKS: dict[str, Any] = {
    "decoder": decoder,
    "clip": clip,
    "rules": rules,
    "thresholds": thresholds,
    "cocoercivity": cocoercivity,
    "robustness": robustness,
    "stress": stress,
    "codec": codec,
    "frames": frames,
    "invertibility": invertibility,
    "index": index,
    "soak": soak,
    "overhead": overhead,
    "watermark": watermark,
    "sampler": sampler,
    "editing": editing,
    "report": report,
}
"""All benchmarks: functions whose parameters are the command's options."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one benchmark, and say in one sentence what was wrong with an option.

    Args:
        args: Arguments, the benchmark's name first; by default ``sys.argv``.

    Returns:
        The exit status: 0, or 2 after an error that this package raised about its input.
    """
    HOST_MEMORY.keep()  # for whatever is compared
    words = with_shipped(sys.argv[1:] if args is None else args)
    try:
        if words[:1] == ["report"]:
            report_command(words[1:])
        else:
            run_command(BENCHMARKS, words, "python -m decinv.benchmark")
    except (ValueError, TypeError, OSError) as error:
        about_files = isinstance(error, FileExistsError | NotADirectoryError | PermissionError)
        advice = f"Expected files that can be read and written, but got: {error}; change the option that names that one."
        return tell("decinv.benchmark", error, advice if about_files else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
