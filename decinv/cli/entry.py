"""Running the command line, from the shell and from Python."""

import errno
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import ArgsType

import decinv  # and below, so that a YAML may name classes without their module
import decinv.callbacks
import decinv.codecs
import decinv.data
import decinv.diffusion
import decinv.methods
import decinv.modules
import decinv.updates
from decinv.cli.command import DecinvCLI
from decinv.cli.options import OptionParser
from decinv.cli.outcome import exit_status
from decinv.errors import own_sentence
from decinv.host_memory import HOST_MEMORY
from decinv.interruption import Interrupted, interruptible
from decinv.strategies.independent import IndependentStrategy
from decinv.strategies.local import LAUNCHER

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""Errors of a disk that is full or read-only."""


def _quieten() -> None:
    """Silence what tells a user nothing about the run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    # Lightning 2.6 calls a function that torch 2.13 deprecates.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    # The inversion moves a chunk once, not once an iteration, whatever the DataModule is.
    warnings.filterwarnings("ignore", message=r".*You have overridden `transfer_batch_to_device`.*")
    # `run` and `main` take arguments for use from Python and from tests.
    warnings.filterwarnings("ignore", message=r"LightningCLI's args parameter is intended to run from within Python.*")
    # The codec is in evaluation mode on purpose.
    warnings.filterwarnings("ignore", message=r".*Found \d+ module\(s\) in eval mode.*")


def run(args: ArgsType = None) -> DecinvCLI:
    """Run the command line and let every exception through.

    Args:
        args: Arguments; by default ``sys.argv``.

    Returns:
        The command line after its run, with its trainer and model.
    """
    _quieten()
    HOST_MEMORY.keep()
    here = os.getcwd()  # not "", since the parser goes to the directory of each file that it reads
    if here not in sys.path:  # for classes of own modules in a YAML; installed ones come first
        sys.path.append(here)
    return DecinvCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        parser_class=OptionParser,
        trainer_defaults={
            "strategy": IndependentStrategy.strategy_name,
            "max_epochs": -1,
            "enable_checkpointing": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "logger": {  # as a configuration names it, which takes less time to read than an object
                "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                "init_args": {"save_dir": "", "name": "", "version": ""},
            },
        },
        save_config_callback=None,
        parser_kwargs={"version": decinv.__version__},
        args=args,
    )


def main(args: ArgsType = None) -> int:
    """Run the command line, and say in one sentence what was wrong with the input, or how to go on after an interruption.

    Args:
        args: Arguments; by default ``sys.argv``.

    Returns:
        The exit status: that of ``exit_status``; 2 after an error that this package raised about its input; 128 + the signal's
        number after SIGINT (Ctrl-C), SIGTERM and SIGUSR1.
    """
    try:
        with interruptible(), _one_thread_tells():
            cli = run(args)
            return exit_status(cli.failed, cli.trainer.strategy.launcher)
    except Interrupted as interruption:
        _say(f"decinv: {interruption}")
        return interruption.exit_status
    except (ValueError, TypeError, OSError, ImportError) as error:
        sentence = own_sentence(error) or _about_files(error)
        if sentence is None:
            raise
        _say(f"decinv: error: {sentence}", _is_own(error))
        return 2


def _about_files(error: BaseException) -> str | None:
    """Say what is wrong where whoever read or wrote a file met a disk that is full or read-only, or something in its place."""
    if not isinstance(error, OSError) or (error.filename is None and error.errno not in DISK):
        return None
    return (
        f"Expected to read and write files, but got: {error}. What is written is kept; run the same command "
        "again, with --out and the run directory, to go on."
    )


@contextmanager
def _one_thread_tells() -> Iterator[None]:
    """Let the main thread alone tell of a disk that is full, which a logger's thread meets first and hands over."""
    before = threading.excepthook

    def tell(ended: threading.ExceptHookArgs) -> None:
        if not isinstance(ended.exc_value, OSError) or ended.exc_value.errno not in DISK:
            before(ended)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before


def _is_own(error: BaseException | None) -> bool:
    """Whether an error may be this process's alone: of a disk, or behind the checks of the process that started this one."""
    if LAUNCHER in os.environ:
        return True
    while error is not None and not (isinstance(error, OSError) and error.errno in DISK):
        error = error.__cause__
    return error is not None


def _say(sentence: str, own: bool = False) -> None:
    """Print on the standard error, once a machine unless it is the process's own: its other processes would say the same."""
    if own or int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))) == 0:
        print(sentence, file=sys.stderr, flush=True)
