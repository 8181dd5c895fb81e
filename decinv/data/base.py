"""Chunks as epochs: the contract between data and inversions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from lightning import LightningDataModule

from decinv.batch import Batch
from decinv.codecs.base import Codec
from decinv.modules.base import Inversion


class ChunkLoader:
    """Give one chunk for every iteration of an epoch, and the next chunk in the next epoch.

    It has a length, so that the trainer does not read ahead; and iterating it takes no chunk before the first ``next``,
    since the trainer calls ``iter`` more often than it runs epochs.
    """

    def __init__(self, chunks: Iterator[Batch], repeats: int, on_last: Callable[[], None]) -> None:
        """Take the chunks.

        Args:
            chunks: The chunks; the next one is fetched when the one before is handed out.
            repeats: Largest number of iterations of a chunk.
            on_last: Called when the last chunk is handed out.
        """
        self.chunks = chunks
        self.repeats = repeats
        self.on_last = on_last
        self.upcoming = next(chunks, None)

    def __len__(self) -> int:
        """Largest number of iterations of one epoch."""
        return self.repeats

    def __iter__(self) -> Iterator[Batch]:
        """Give the upcoming chunk, over and over."""
        chunk = self.upcoming
        if chunk is None:
            return
        self.upcoming = next(self.chunks, None)
        if self.upcoming is None:
            self.on_last()
        for _ in range(self.repeats):
            yield chunk


class ChunkData(LightningDataModule, ABC):
    """Images for an inversion, chunk by chunk. Subclasses say which, in ``chunks``."""

    @abstractmethod
    def chunks(self, codec: Codec) -> Iterator[Batch]:
        """Give the chunks, each of images of one size whose sides are multiples of the codec's stride."""

    @property
    @abstractmethod
    def total(self) -> int:
        """Number of inputs, unreadable ones included; known from ``setup`` on."""

    def train_dataloader(self) -> ChunkLoader:
        """Start the sequence of chunks, and let the trainer run exactly as many epochs.

        Raises:
            TypeError: If the model is no inversion.
        """
        trainer = self.trainer
        module = None if trainer is None else trainer.lightning_module
        if trainer is None or not isinstance(module, Inversion):
            raise TypeError(f"Expected {type(self).__name__} to feed an inversion, but got {type(module).__name__}.")

        def stop_after_this_epoch() -> None:
            trainer.fit_loop.max_epochs = trainer.current_epoch + 1

        loader = ChunkLoader(self.chunks(module.codec), module.max_iters, stop_after_this_epoch)
        trainer.fit_loop.max_epochs = 0 if loader.upcoming is None else -1
        return loader
