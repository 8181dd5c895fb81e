"""Chunks as epochs: the contract between data and inversions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import islice

from lightning import LightningDataModule

from decinv.batch import Batch, check_batch
from decinv.codecs.base import Codec
from decinv.modules.base import Inversion


class ChunkLoader:
    """Give one chunk for every iteration of an epoch, and the next chunk in the next epoch.

    It has a length, so that the trainer does not read ahead; and iterating it takes no chunk before the first ``next``,
    since the trainer calls ``iter`` more often than it runs epochs.
    """

    def __init__(self, chunks: Iterator[Batch], repeats: int, tell_last: Callable[[bool], None]) -> None:
        """Take the chunks.

        Args:
            chunks: The chunks; the next one is fetched when the one before is handed out.
            repeats: Largest number of iterations of a chunk.
            tell_last: Called when a chunk is handed out, with whether it is the last one; again if it is split.
        """
        self.chunks = chunks
        self.repeats = repeats
        self.tell_last = tell_last
        self._ready: list[Batch] = []
        self._most: int | None = None
        self._handed: Batch | None = None
        self._fetch()

    @property
    def upcoming(self) -> Batch | None:
        """The chunk of the next epoch; ``None`` where there is none."""
        return self._ready[0] if self._ready else None

    def __len__(self) -> int:
        """Largest number of iterations of one epoch."""
        return self.repeats

    def __iter__(self) -> Iterator[Batch]:
        """Give the upcoming chunk, over and over."""
        if not self._ready:
            return
        chunk = self._handed = self._ready.pop(0)
        self._fetch()
        self.tell_last(not self._ready)
        for _ in range(self.repeats):
            yield chunk

    def split(self) -> None:
        """Bring back the chunk that was handed out last, in two halves, and no larger chunks (by pixels) from now on.

        Raises:
            ValueError: If it has no two samples.
        """
        chunk = self._handed
        if chunk is None or len(chunk.names) < 2:
            raise ValueError("Expected a chunk of at least two samples to split, but got fewer.")
        self._most = chunk.image[: (len(chunk.names) + 1) // 2].numel()
        self._ready = [part for chunk in (chunk, *self._ready) for part in self._parts(chunk)]
        self.tell_last(False)

    def _fetch(self) -> None:
        """Read the next chunk, unless one is ready."""
        if not self._ready:
            self._ready = [part for chunk in islice(self.chunks, 1) for part in self._parts(check_batch(chunk))]

    def _parts(self, chunk: Batch) -> list[Batch]:
        count = len(chunk.names)
        rows = count if self._most is None or not count else max(1, self._most // chunk.image[0].numel())
        return [chunk] if rows >= count else [chunk.part(start, start + rows) for start in range(0, count, rows)]


class ChunkData(LightningDataModule, ABC):
    """Images for an inversion, chunk by chunk. Subclasses say which, in ``chunks``.

    That is all: each process inverts every chunk, and a run begins anew. Where images shall be divided among processes, and a
    run go on where it ended, they are inputs of an ``IndexedData``.

    Attributes:
        sample: What one of them is called.
    """

    sample: str = "image"

    @abstractmethod
    def chunks(self, codec: Codec) -> Iterator[Batch]:
        """Give the chunks, each of images of one size whose sides are multiples of the codec's stride; see ``Batch``."""

    @property
    @abstractmethod
    def total(self) -> int:
        """Number of inputs that this process inverts, unreadable ones included; known from ``setup`` on."""

    def train_dataloader(self) -> ChunkLoader:
        """Start the sequence of chunks, and let the trainer run exactly as many epochs.

        Raises:
            TypeError: If the model is no inversion.
        """
        trainer = self.trainer
        module = None if trainer is None else trainer.lightning_module
        if trainer is None or not isinstance(module, Inversion):
            raise TypeError(f"Expected {type(self).__name__} to feed an inversion, but got {type(module).__name__}.")

        def set_last_epoch(this: bool) -> None:
            trainer.fit_loop.max_epochs = trainer.current_epoch + 1 if this else -1

        loader = ChunkLoader(self.chunks(module.codec), module.max_iters, set_last_epoch)
        trainer.fit_loop.max_epochs = 0 if loader.upcoming is None else -1
        module.split_chunk = loader.split
        return loader
