"""The command line: one LightningCLI over every inversion, codec, data source and callback of the package."""

import logging
import os
import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

from jsonargparse.typing import lazy_instance
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

import decinv.callbacks
import decinv.codecs
import decinv.data
import decinv.modules
import decinv.updates  # noqa: F401  (imported so that a YAML may name classes without their module)
from decinv.data.indexed import IndexedData
from decinv.errors import own_sentence
from decinv.runs import RunDirectory
from decinv.runs.configuration import settle


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

    def _parse_ckpt_path(self) -> None:
        """Let the command line and the configs decide, not hyper-parameters stored in a checkpoint."""

    def before_instantiate_classes(self) -> None:
        """Let the run directory hold everything that the run writes."""
        config: Any = self.config[self.subcommand]
        if config.out is None:
            config.out = _fresh_directory(Path("runs"))
        self.run_directory = RunDirectory(config.out)
        if config.fresh:
            _delete(self.run_directory)
        logger = config.trainer.logger
        # A config that an earlier run saved names that run's directory in both places.
        if hasattr(logger, "init_args") and logger.init_args.get("save_dir") in ("", config.trainer.default_root_dir):
            logger.init_args.save_dir = config.out
        config.trainer.default_root_dir = config.out
        self.continued = not settle(self.run_directory.config, self._parser(self.subcommand).dump(config, skip_none=False))

    def before_fit(self) -> None:
        """Continue the run that the run directory holds.

        Raises:
            FileExistsError: If it cannot be continued.
        """
        if isinstance(self.datamodule, IndexedData):
            self.datamodule.run = self.run_directory
        elif self.continued:
            raise FileExistsError(
                f"Expected --out to name a fresh directory, but {self.run_directory.path} holds a run that cannot be "
                "continued; choose another."
            )


def _fresh_directory(parent: Path) -> str:
    """Name a directory after the time, with a number where that second is taken."""
    stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    names = (parent / (stem if i == 0 else f"{stem}_{i}") for i in range(1000))
    return str(next(name for name in names if not name.exists()))


def _delete(run: RunDirectory) -> None:
    """Delete a run, once: not in the processes that this job starts later, nor in one of several that start together.

    Raises:
        ValueError: If several processes were started together, none of which knows when to delete.
    """
    if int(os.environ.get("LOCAL_RANK", "0")) > 0 and "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    together = max(int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    if together > 1:
        raise ValueError(
            f"Expected one process with --fresh true, but {together} were started together; delete {run.path} before that."
        )
    run.delete()


def _quieten() -> None:
    """Silence what tells a user nothing about the run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
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
        trainer_defaults={
            "max_epochs": -1,
            "enable_checkpointing": False,
            "use_distributed_sampler": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
            "logger": lazy_instance(TensorBoardLogger, save_dir="", name="", version=""),
        },
        save_config_callback=None,
        args=args,
    )


def main(args: ArgsType = None) -> int:
    """Run the command line, and say in one sentence what was wrong with the input.

    Args:
        args: Arguments; by default ``sys.argv``.

    Returns:
        The exit status: 0, or 2 after an error that this package raised about its input.
    """
    try:
        run(args)
    except (ValueError, TypeError, OSError) as error:
        sentence = own_sentence(error)
        if sentence is None:
            raise
        print(f"decinv: error: {sentence}", file=sys.stderr)
        return 2
    return 0
