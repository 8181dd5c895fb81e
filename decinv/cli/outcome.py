"""What a run has come to, as the shell sees it."""

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from decinv.callbacks.editing import Editing
from decinv.callbacks.run import observers_of
from decinv.modules.base import Inversion
from decinv.runs import RunDirectory
from decinv.runs.merge import survey
from decinv.strategies.local import FINISHED, LocalProcesses


class Outcomes(Callback):
    """Watch what becomes of this process's samples, whether or not that is written.

    Attributes:
        failed: Whether one ended without a result that is ok, or an edit of one came to nothing.
        cut: Whether the trainer ended before a chunk did, as ``max_time`` and ``max_steps`` make it.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.failed = False
        self.cut = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the chunk's."""
        if isinstance(pl_module, Inversion) and pl_module.batch is not None:
            self.cut = not pl_module.finished
            self.failed |= bool(pl_module.batch.failures) or any(not status.ok for status in pl_module.result.status)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the edits."""
        self.failed |= any(isinstance(observer, Editing) and observer.failed for observer in observers_of(trainer))


def exit_status(failed: bool, launcher: object) -> int:
    """Give the exit status of a finished run.

    Args:
        failed: Whether an image of this process's share has no usable result, or an edit of one failed.
        launcher: What started the other processes of this machine, if anything did.

    Returns:
        0 if every image has a result; 3 if some have not, or an edit failed, in any of the processes of this machine that it
        started; 1 if one of those died. Under torchrun 0 instead of 3, since torchrun ends all processes as soon as one has
        another status than 0.
    """
    statuses = {3 if failed else 0}
    if isinstance(launcher, LocalProcesses):
        statuses.update(launcher.statuses.values())
    if not statuses <= set(FINISHED):
        return 1
    return 0 if TorchElasticEnvironment.detect() else max(statuses)


def advice(run: RunDirectory) -> str:
    """Say how far an interrupted run has come, where that is known, and how to go on."""
    done = ""
    if run.tables and run.input_file.exists():
        report = survey(run)
        done = f"{report.total - len(report.missing)} of {report.total} inputs are done; "
    return f"{done}to go on, run the same command again with --out {run.path}"
