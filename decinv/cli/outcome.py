"""What a run has come to, as the shell sees it."""

from typing import TYPE_CHECKING

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from decinv.data.indexed import IndexedData
from decinv.modules.base import Inversion
from decinv.runs.merge import survey
from decinv.strategies.local import FINISHED, LocalProcesses

if TYPE_CHECKING:
    from decinv.cli.command import DecinvCLI


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


def exit_status(cli: "DecinvCLI") -> int:
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


def advice(cli: "DecinvCLI") -> str:
    """Say how to go on with a run that was interrupted."""
    directory = cli.trainer.default_root_dir
    if not isinstance(cli.model, Inversion):
        return f"to go on, give --ckpt_path one of the checkpoints in {directory}"
    done = ""
    if isinstance(cli.datamodule, IndexedData) and cli.run_directory.tables:
        report = survey(cli.run_directory)
        done = f"{report.total - len(report.missing)} of {report.total} images are done; "
    return f"{done}to go on, run the same command again with --out {directory}"
