"""The peak memory of each chunk."""

import torch
from lightning import Callback, LightningModule, Trainer

from decinv.batch import Batch
from decinv.callbacks.run import as_inversion, last_steps, log_scalars
from decinv.callbacks.thinning import is_logged
from decinv.memory import PeakMemory


class Memory(Callback):
    """Measure the peak memory of each chunk and log it as ``peak_mib`` against the chunk's number.

    Of the first 1,000 chunks all are logged, then ever fewer; see ``decinv.callbacks.thinning.is_logged``.

    The peak is above what is live when the chunk begins (weights, the chunk's images), from its first encode to its last
    step; decodes of the finished latents are not part of it. See ``decinv.memory.PeakMemory`` for what is counted. On the CPU
    measuring makes steps slower, so the first chunk of each shape is measured and its figure stands for all chunks of that
    shape.

    Attributes:
        peak_mib: Peak memory of the latest chunk in MiB; ``None`` before its last step.
    """

    def __init__(self) -> None:
        """Start without a figure."""
        self.peak_mib: float | None = None
        self._known: dict[torch.Size, float] = {}
        self._meter: PeakMemory | None = None
        self._offset = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse modules that are no inversions."""
        as_inversion(pl_module, self)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Number chunks after those that earlier starts of the run have logged."""
        self._offset = last_steps(trainer).get("peak_mib", -1) + 1 - trainer.current_epoch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Begin to measure before the first step of a chunk."""
        if batch_idx:
            return
        device = pl_module.device
        self.peak_mib = None if device.type == "cuda" else self._known.get(batch.image.shape)
        if self.peak_mib is None and len(batch.names):
            self._shape = batch.image.shape
            self._meter = PeakMemory(device)
            self._meter.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Stop measuring after the last step of a chunk."""
        if self._meter is not None and as_inversion(pl_module, self).solver.done:
            self._stop()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the chunk's figure."""
        self._stop()
        if self.peak_mib is not None and is_logged(trainer.current_epoch):
            log_scalars(trainer, {"peak_mib": self.peak_mib}, self._offset + trainer.current_epoch)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop measuring."""
        self._stop()

    def _stop(self) -> None:
        if self._meter is not None:
            self._meter.__exit__(None, None, None)
            self.peak_mib = self._known[self._shape] = self._meter.mib
            self._meter = None
