"""The command line: ``decinv fit -c CONFIG`` or ``python main.py fit -c CONFIG``, and ``run`` for the same from Python."""

from decinv.cli.command import DecinvCLI
from decinv.cli.entry import main, run

__all__ = ["DecinvCLI", "main", "run"]
