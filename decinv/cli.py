"""The command line: one LightningCLI over every inversion, codec, data source and callback of the package."""

import errno
import logging
import os
import signal
import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

from jsonargparse.typing import lazy_instance
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

import decinv.callbacks
import decinv.codecs
import decinv.data
import decinv.modules
import decinv.updates  # noqa: F401  (imported so that a YAML may name classes without their module)
from decinv.configuration import check_files
from decinv.data.indexed import IndexedData
from decinv.errors import innermost, own_sentence
from decinv.interruption import Interrupted, interruptible
from decinv.modules.base import Inversion, refuse_communication
from decinv.options import OptionParser
from decinv.runs import RunDirectory
from decinv.runs.atomic import replacing
from decinv.runs.configuration import check
from decinv.runs.merge import describe, survey
from decinv.strategies.independent import IndependentStrategy
from decinv.strategies.local import FINISHED, RUN_DIRECTORY, LocalProcesses


class DecinvCLI(LightningCLI):
    """A LightningCLI with a run directory, and with only the subcommand that makes sense here."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--out``."""
        parser.add_argument(
            "--out",
            type=str | None,
            default=None,
            help="Run directory; a run that it holds is continued if the configuration is the same. By default a fresh one "
            "under runs/.",
        )
        parser.add_argument(
            "--fresh", type=bool, default=False, help="Whether to delete the run that --out holds, rather than to continue it."
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only ``fit``: an inversion is a fit of latents; there is nothing to validate, test or predict."""
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"}}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Look at the configuration files first, since the parser does not say in which of them it stumbled."""
        if args is None or isinstance(args, list):
            check_files(args)
        super().parse_arguments(parser, args)

    def _parse_ckpt_path(self) -> None:
        """Let the command line and the configs decide, not hyper-parameters stored in a checkpoint."""

    def before_instantiate_classes(self) -> None:
        """Let the run directory hold everything that the run writes."""
        config: Any = self.config[self.subcommand]
        config.out = os.environ.get(RUN_DIRECTORY) or config.out  # what the first of several local processes chose
        environment = _cluster_environment()
        if config.out is None:
            if environment.world_size() > 1 or config.trainer.num_nodes > 1 or _follows(environment):
                raise ValueError(
                    "Expected --out DIR, but got none; give one, since processes that are started one by one cannot agree on a "
                    "fresh directory."
                )
            config.out = _fresh_directory(Path("runs"))
        self.run_directory = RunDirectory(config.out)
        if config.fresh and not _follows(environment):
            if environment.world_size() > 1:
                raise ValueError(
                    f"Expected one process with --fresh true, but got {environment.world_size()} that start together; delete "
                    f"{config.out} before that."
                )
            self.run_directory.delete()
        logger = config.trainer.logger
        # A config that an earlier run saved names that run's directory in both places.
        if hasattr(logger, "init_args") and logger.init_args.get("save_dir") in ("", config.trainer.default_root_dir):
            logger.init_args.save_dir = config.out
        config.trainer.default_root_dir = config.out
        self.text = self._parser(self.subcommand).dump(config, skip_none=False)
        if self.run_directory.begun:
            check(self.run_directory.config, self.text)

    def before_fit(self) -> None:
        """Begin the run, or continue the one that the run directory holds.

        Raises:
            FileExistsError: If it holds a run that cannot be continued.
            ValueError: If it holds a run of another configuration.
            OSError: If it cannot be written.
        """
        run = self.run_directory
        follows = _follows(_cluster_environment())
        self.continued = run.begun and not follows
        if isinstance(self.datamodule, IndexedData):
            self.datamodule.run = run
        elif run.config.exists() and not follows:
            raise FileExistsError(
                f"Expected --out to name a fresh directory, but {run.path} holds a run that cannot be continued; change it."
            )
        if run.begun:
            check(run.config, self.text)
            return
        try:
            with replacing(run.config, shared=True) as file:
                file.write_text(self.text, encoding="utf-8")
        except OSError as error:
            raise OSError(f"Expected --out to name a directory that can be written, but got: {error}; change it.") from error

    def instantiate_classes(self) -> None:
        """Make every object of the configuration.

        Raises:
            ValueError: If one of them, ours or not, refuses its options.
        """
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            if own_sentence(error) is not None:
                raise
            raise ValueError(f"Expected usable options, but: {innermost(error)}") from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer.

        Raises:
            ValueError: If its options do not fit each other or this machine.
        """
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            if own_sentence(error) is not None:
                raise
            raise ValueError(f"Expected usable options of `trainer`, but: {error}") from error

    def fit(self, **options: Any) -> None:
        """Run the trainer.

        Raises:
            ValueError: If processes would wait for each other; before they are started.
            Interrupted: If the process is asked to end; the exception then knows how to go on.
        """
        self.outcomes = Outcomes()
        if isinstance(self.model, Inversion):
            refuse_communication(self.trainer)
            observers: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
            observers.append(self.outcomes)
        try:
            self.trainer.fit(**options)
            self._tell()
        except Interrupted as interruption:
            interruption.advice = advice(self)
            raise
        except SIGTERMException as end:  # how the trainer ends where something took our exception for its own
            raise Interrupted(signal.SIGTERM, advice(self)) from end

    def _tell(self) -> None:
        """Say what the run has come to, where the closing table shows a part of it only."""
        if not isinstance(self.datamodule, IndexedData) or not self.trainer.is_global_zero:
            return
        if self.run_directory.tables and (self.continued or self.datamodule.share.count > 1):
            print(describe(survey(self.run_directory), self.run_directory))

    @property
    def failed(self) -> bool:
        """Whether an image of this process's share has no usable result, now or from an earlier start."""
        if self.outcomes.failed or not isinstance(self.datamodule, IndexedData):
            return self.outcomes.failed
        return any(not row.status.ok for row in self.run_directory.rows(self.datamodule.share))


class Outcomes(Callback):
    """Watch what becomes of this process's samples, whether or not that is written.

    Attributes:
        failed: Whether one ended without a result that is ok.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.failed = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the chunk's."""
        if isinstance(pl_module, Inversion) and pl_module.batch is not None:
            self.failed |= bool(pl_module.batch.failures) or any(not status.ok for status in pl_module.result.status)


def exit_status(cli: DecinvCLI) -> int:
    """Give the exit status of a finished run.

    Args:
        cli: The command line after its run.

    Returns:
        0 if every image has a result; 3 if some have not, in any of the processes of this machine that it started; 1 if one of
        those died. Under torchrun 0 instead of 3, since torchrun ends all processes as soon as one has another status than 0.
    """
    launcher = cli.trainer.strategy.launcher
    statuses = {3 if cli.failed else 0}
    if isinstance(launcher, LocalProcesses):
        statuses.update(launcher.statuses.values())
    if not statuses <= set(FINISHED):
        return 1
    return 0 if TorchElasticEnvironment.detect() else max(statuses)


def advice(cli: DecinvCLI) -> str:
    """Say how to go on with a run that was interrupted."""
    directory = cli.trainer.default_root_dir
    if not isinstance(cli.model, Inversion):
        return f"to go on, give --ckpt_path one of the checkpoints in {directory}"
    done = ""
    if isinstance(cli.datamodule, IndexedData) and cli.run_directory.tables:
        report = survey(cli.run_directory)
        done = f"{report.total - len(report.missing)} of {report.total} images are done; "
    return f"{done}to go on, run the same command again with --out {directory}"


def _cluster_environment() -> ClusterEnvironment:
    """Find out who started this process, as the trainer will."""
    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        if kind.detect():
            return kind()
    return LightningEnvironment()


def _follows(environment: ClusterEnvironment) -> bool:
    """Whether another process is the first one of the run."""
    return environment.global_rank() > 0 or environment.local_rank() > 0 or environment.node_rank() > 0


def _fresh_directory(parent: Path) -> str:
    """Name a directory after the time, with a number where that second is taken."""
    stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    names = (parent / (stem if i == 0 else f"{stem}_{i}") for i in range(1000))
    return str(next(name for name in names if not name.exists()))


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
            "logger": lazy_instance(TensorBoardLogger, save_dir="", name="", version=""),
        },
        save_config_callback=None,
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
        with interruptible():
            return exit_status(run(args))
    except Interrupted as interruption:
        _say(f"decinv: {interruption}")
        return interruption.exit_status
    except (ValueError, TypeError, OSError) as error:
        sentence = own_sentence(error) or _about_the_disk(error)
        if sentence is None:
            raise
        _say(f"decinv: error: {sentence}")
        return 2


def _about_the_disk(error: BaseException) -> str | None:
    """Say what is wrong where whoever wrote a file met a disk that is full or read-only."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return None
    return f"Expected to write files, but got: {error}. What is written is kept; run the same command again to go on."


def _say(sentence: str) -> None:
    """Print on the standard error, once a machine: its other processes would say the same."""
    if int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))) == 0:
        print(sentence, file=sys.stderr, flush=True)
