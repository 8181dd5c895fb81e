"""A LightningCLI over every inversion, codec, data source and callback of the package, with a run directory."""

import os
import signal
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from pydoc import locate
from typing import Any, NoReturn

import torch
import yaml
from jsonargparse import Namespace
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

from decinv.callbacks.run import observers_of
from decinv.cli.outcome import Outcomes, advice
from decinv.cli.planning import show_plan
from decinv.cli.processes import cluster_environment, follows
from decinv.cli.refusals import (
    refuse_deleted_checkpoint,
    refuse_missing_checkpoint,
    refuse_parts,
    refuse_training,
    refuse_twice,
    refused_by_trainer,
)
from decinv.cli.yaml_files import check_files
from decinv.data.indexed import IndexedData
from decinv.errors import innermost, own_sentence
from decinv.interruption import Interrupted
from decinv.modules.base import Inversion, refuse_communication
from decinv.plan import refuse_to_plan
from decinv.profiler import NullProfiler
from decinv.runs import RunDirectory, Share
from decinv.runs.atomic import replacing
from decinv.runs.claim import claimed
from decinv.runs.configuration import check
from decinv.runs.merge import STATUS, describe, survey
from decinv.shipped_configs import with_shipped
from decinv.status import Status
from decinv.strategies.local import RUN_DIRECTORY


class DecinvCLI(LightningCLI):
    """A LightningCLI with a run directory, and with only the subcommand that makes sense here."""

    claimed: str | None = None
    """The fresh directory that was made for this run, if any."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--out``, ``--fresh``, ``--plan`` and ``--plan_budget``."""
        parser.add_argument(
            "--out",
            type=str | None,
            default=None,
            help="Run directory; a run that it holds is continued if the configuration is the same. By default "
            "--trainer.default_root_dir, or else a fresh one under runs/.",
        )
        parser.add_argument(
            "--fresh", type=bool, default=False, help="Whether to delete the run that --out holds, rather than to continue it."
        )
        parser.add_argument(
            "--plan",
            type=bool,
            default=False,
            help="Whether to predict the memory that the run would need, and to run and write nothing. The codec's weights are "
            "not read, and no GPU is needed.",
        )
        parser.add_argument(
            "--plan_budget",
            type=float | None,
            default=None,
            help="Memory in GiB for which --plan finds the largest batch; by default what is free on this machine's CUDA "
            "device, if it has one.",
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only ``fit``: an inversion is a fit of latents; there is nothing to validate, test or predict."""
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"}}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Find files of ``configs/``, and look at them first, since the parser does not say in which of them it stumbled."""
        if args is None or isinstance(args, list):
            args = with_shipped(sys.argv[1:] if args is None else args)
            check_files(args)
        super().parse_arguments(parser, args)

    def _parse_ckpt_path(self) -> None:
        """Let the command line and the configs decide, not hyper-parameters stored in a checkpoint."""

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise ValueError(f"Expected another `seed_everything`, but: {error}.") from error

    def before_instantiate_classes(self) -> None:
        """Let the run directory hold everything that the run writes."""
        config: Any = self.config[self.subcommand]
        if not isinstance(config.trainer, Namespace):
            raise ValueError(
                f"Expected keys and values of `trainer`, but got {config.trainer!r}; leave it out where there are none."
            )
        if config.plan:
            return
        chosen = os.environ.get(RUN_DIRECTORY)  # by the first of several local processes
        config.out = chosen or config.out or config.trainer.default_root_dir
        environment = cluster_environment()
        refuse_twice(config.trainer.callbacks)
        refuse_missing_checkpoint(config.get("ckpt_path"))
        if config.out is None:
            if environment.world_size() > 1 or config.trainer.num_nodes > 1 or follows(environment):
                raise ValueError(
                    "Expected --out DIR, but got none; give one, since processes that are started one by one cannot agree on a "
                    "fresh directory."
                )
            config.out = self.claimed = _fresh_directory(Path("runs"))
        self.run_directory = RunDirectory(config.out)
        if config.fresh and not follows(environment) and environment.world_size() > 1:
            raise ValueError(
                f"Expected one process with --fresh true, but got {environment.world_size()} that start together; delete "
                f"{config.out} before that."
            )
        loggers = config.trainer.logger if isinstance(config.trainer.logger, list) else [config.trainer.logger]
        for logger in loggers:
            # A config that an earlier run saved names that run's directory in both places.
            if hasattr(logger, "init_args") and logger.init_args.get("save_dir") in ("", config.trainer.default_root_dir):
                logger.init_args.save_dir = config.out
        config.trainer.default_root_dir = config.out
        self.text = self._parser(self.subcommand).dump(config, skip_none=False, skip_check=True)
        self.config_dump = yaml.safe_load(self.text)  # what a module saves as its hyper-parameters, else written anew
        if self.run_directory.begun and not config.fresh:
            check(self.run_directory.config, self.text)

    def before_fit(self) -> None:
        """Begin the run, or continue the one that the run directory holds, or delete that one for which all else is ready.

        Raises:
            FileExistsError: If it holds a training, and there is no checkpoint to go on from.
            FileNotFoundError: If there is no checkpoint or no source of images where the options name one, or the run's
                configuration was deleted.
            ValueError: If it holds a run of another configuration, epochs or batches of an inversion are limited, or one of its
                callbacks is for trainings.
            OSError: If it cannot be written.
        """
        config: Any = self.config[self.subcommand]
        if isinstance(self.model, Inversion):
            refuse_parts(config.trainer)
            refuse_training(observers_of(self.trainer))
        run = self.run_directory
        later = follows(cluster_environment())
        if config.fresh and not later:
            refuse_deleted_checkpoint(config.get("ckpt_path"), run.path)
            if isinstance(self.datamodule, IndexedData):
                self.datamodule.list_ahead()  # which refuses a wrong source
            with claimed(run.path, Share()):  # all of it
                run.delete()
        self.continued = run.begun and not later
        if isinstance(self.datamodule, IndexedData):
            self.datamodule.run = run
        elif run.config.exists() and not later and config.get("ckpt_path") is None:
            raise FileExistsError(
                f"Expected --out to name a fresh directory, but {run.path} holds a run; {self._advice()}, or change --out."
            )
        if run.begun or (run.config.exists() and not isinstance(self.datamodule, IndexedData)):
            check(run.config, self.text)
            return
        try:
            with replacing(run.config, shared=True) as file:
                file.write_text(self.text, encoding="utf-8")
        except (OSError, ValueError) as error:
            raise OSError(f"Expected --out to name a directory that can be written, but got: {error}; change it.") from error

    def instantiate_classes(self) -> None:
        """Make every object of the configuration; for a plan only model and data, whose memory is shown.

        Raises:
            ValueError: If one of them, ours or not, refuses its options.
            SystemExit: After a plan.
        """
        try:
            if self.config[self.subcommand].plan:
                self._plan()
            super().instantiate_classes()
        except BaseException as error:
            if self.claimed is not None:
                with suppress(OSError):  # one of them holds something
                    Path(self.claimed).rmdir()
                    Path(self.claimed).parent.rmdir()
            if not isinstance(error, (ValueError, MisconfigurationException)) or own_sentence(error) is not None:
                raise
            raise ValueError(f"Expected usable options, but: {innermost(error)}") from error

    def _plan(self) -> NoReturn:
        """Show the plan and leave, without a trainer, which may be one for another machine."""
        config: Any = self.config[self.subcommand]
        config.trainer.callbacks, config.trainer.logger = None, False
        kind = locate(config.model.class_path)
        if isinstance(kind, type):
            refuse_to_plan(kind)  # before its data, which may not be made without memory
        with torch.device("meta"):
            made = self.parser.instantiate_classes(self.config)
        precision, accelerator = config.trainer.precision or "32-true", config.trainer.accelerator
        has_host = torch.accelerator.is_available() if accelerator == "auto" else accelerator != "cpu"
        show_plan(self._get(made, "model"), self._get(made, "data"), precision, config.plan_budget, has_host)
        raise SystemExit(0)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with a profiler that costs next to nothing where none is asked for, and the last of several bars.

        A bare one has none of these, nor the logger that runs have by default.

        Raises:
            ValueError: If its options do not fit each other or this machine.
        """
        options: Any = self.config[self.subcommand].trainer
        if options.barebones:
            kwargs.update(logger=None, log_every_n_steps=None)
        elif options.profiler is None:
            kwargs["profiler"] = NullProfiler()
        made = self._get(self.config_init, "trainer").callbacks
        if isinstance(made, list):  # the shipped configurations have a bar
            bars = [callback for callback in made if isinstance(callback, ProgressBar)]
            unwanted = bars if options.barebones or options.enable_progress_bar is False else bars[:-1]
            kwargs["callbacks"] = [callback for callback in made if callback not in unwanted]
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
            if own_sentence(error) is not None:
                raise
            raise ValueError(f"Expected usable options of `trainer`, but: {error}") from error

    def fit(self, **options: Any) -> None:
        """Run the trainer.

        Raises:
            ValueError: If processes would wait for each other, before they are started, options of the trainer do not fit, or
                another process does the same work.
            Interrupted: If the process is asked to end; the exception then knows how to go on.
        """
        self.outcomes = Outcomes()
        if isinstance(self.model, Inversion):
            refuse_communication(self.trainer)
            observers_of(self.trainer).append(self.outcomes)
        shard = self.datamodule.shard if isinstance(self.datamodule, IndexedData) else Share()
        share = shard.part(self.trainer.global_rank, self.trainer.world_size)
        try:
            with claimed(self.run_directory.path, share):
                self.trainer.fit(**options)
            self._tell()
            self.unfinished = self.outcomes.cut or (isinstance(self.datamodule, IndexedData) and self.datamodule.left > 0)
            if self.unfinished:
                print(f"The trainer ended early; {self._advice()}.")
        except (MisconfigurationException, RuntimeError, ValueError, ImportError) as error:
            if not refused_by_trainer(error):
                raise
            raise ValueError(f"Expected usable options of `trainer`, but: {' '.join(str(error).split())}") from error
        except Interrupted as interruption:
            interruption.advice = self._advice()
            raise
        except SIGTERMException as end:  # how the trainer ends where something took our exception for its own
            raise Interrupted(signal.SIGTERM, self._advice()) from end

    def _advice(self) -> str:
        if isinstance(self.model, Inversion):
            if isinstance(self.datamodule, IndexedData):
                return advice(self.run_directory)
            kind = type(self.datamodule).__name__
            return f"runs go on with an `IndexedData`, which {kind} is not; to start anew, repeat the command with --fresh true"
        checkpoints = sorted(self.run_directory.path.rglob("*.ckpt"), key=lambda path: path.stat().st_mtime)
        if not checkpoints:
            return "there is no checkpoint yet; to start anew, run the same command again with --fresh true"
        return f"to go on, run the same command again with --out {self.run_directory.path} --ckpt_path {checkpoints[-1]}"

    def _tell(self) -> None:
        """Say what the run has come to, where the closing table shows a part of it only."""
        if not isinstance(self.datamodule, IndexedData) or not self.trainer.is_global_zero:
            return
        if self.run_directory.tables and (self.continued or self.datamodule.share.count > 1):
            print(describe(survey(self.run_directory), self.run_directory))

    @property
    def failed(self) -> bool:
        """Whether an image of this process's share has no usable result, or none at all, or an edit failed, now or earlier."""
        if self.outcomes.failed or self.unfinished:
            return True
        if not isinstance(self.datamodule, IndexedData):
            return False
        rows = self.run_directory.numbered(len(self.datamodule.inputs))  # of all tables, since shares may have been other ones
        return any(not Status[cells[STATUS]].ok for number, cells in rows if self.datamodule.owns(number))


def _fresh_directory(parent: Path) -> str:
    """Make a directory named after the time, with a number where that second is taken, also by a run that starts beside."""
    stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for i in range(1000):
        path = parent / (stem if i == 0 else f"{stem}_{i}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OSError(f"Expected to make {path} for this run, but got: {error}; give --out.") from error
        return str(path)
    raise FileExistsError(f"Expected a free name like {stem} in {parent}, but all are taken; give --out.")
