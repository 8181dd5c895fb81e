"""What callbacks are given when a chunk of samples is finished."""

from abc import abstractmethod
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from decinv.batch import Batch
from decinv.callbacks.memory import Memory
from decinv.callbacks.run import as_inversion, observers_of
from decinv.modules.base import Inversion
from decinv.result import Result
from decinv.rows import Row, make_rows


@dataclass(frozen=True)
class Chunk:
    """A finished chunk of ``B`` samples; B is 0 where none of its inputs could be read.

    Attributes:
        batch: The samples.
        result: Their outcome.
        reconstruction: The images D(z) ``(B, 3, H, W)`` of the reported latents, clamped to [-1, 1].
        rows: One row for each of the B samples, in order, and then one for each failure.
    """

    batch: Batch
    result: Result
    reconstruction: Tensor
    rows: tuple[Row, ...]


class ChunkCallback(Callback):
    """A callback that looks at each chunk once it is finished, in ``on_chunk_end``."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse modules that are no inversions.

        Raises:
            TypeError: If ``pl_module`` is not an ``Inversion``.
        """
        as_inversion(pl_module, self)

    @abstractmethod
    def on_chunk_end(self, trainer: Trainer, pl_module: Inversion, chunk: Chunk) -> None:
        """Look at a finished chunk."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let go of the last chunk, whose images need not stay in memory."""
        _finished.pop(as_inversion(pl_module, self), None)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand over the chunk, which is put together once for all callbacks, unless the trainer ended it before its time."""
        module = as_inversion(pl_module, self)
        if module.finished and module.batch is not None:
            self.on_chunk_end(trainer, module, _finished_chunk(trainer, module, module.batch))


_finished: WeakKeyDictionary[Inversion, Chunk] = WeakKeyDictionary()


def _finished_chunk(trainer: Trainer, module: Inversion, batch: Batch) -> Chunk:
    chunk = _finished.get(module)
    if chunk is None or chunk.batch is not batch:
        peak = next((c.peak_mib for c in observers_of(trainer) if isinstance(c, Memory)), None)
        result, reconstruction = module.result, module.reconstruction
        rows = make_rows(batch, result, reconstruction, module.codec.scaling, peak, module.remarks)
        chunk = Chunk(batch, result, reconstruction, rows)
        _finished[module] = chunk
    return chunk
