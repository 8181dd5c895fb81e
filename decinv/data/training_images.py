"""The DataModule that feeds procedural images to the training of a codec."""

from collections.abc import Iterator

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, get_worker_info

from decinv.data.continued import batches_done
from decinv.data.procedural import procedural_batch, procedural_image
from decinv.interruption import ignore_signals
from decinv.ranges import refuse_below


class _Stream(IterableDataset[Tensor]):
    """The endless sequence of scenes of one seed, of which each of n workers of each process draws every n-th."""

    def __init__(self, size: int, seed: int, first: int, rank: int, processes: int) -> None:
        self.size, self.seed, self.first = size, seed, first
        self.rank, self.processes = rank, processes

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        index, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        index, step = index * self.processes + self.rank, step * self.processes
        while True:
            yield procedural_image(self.first + index, self.size, self.seed)
            index += step


class ProceduralImages(LightningDataModule):
    """Endless procedural images for a training, and a fixed held-out set for its validation."""

    def __init__(
        self,
        size: int = 64,
        batch_size: int = 8,
        seed: int = 1,
        validation_seed: int = 0,
        validation_count: int = 64,
        num_workers: int = 1,
    ) -> None:
        """Set up the two sequences.

        Args:
            size: Height and width of an image in pixels, at least 8; a multiple of the codec's down-sampling factor.
            batch_size: Images in a training batch, at least 1.
            seed: Seed of the training sequence, at least 0.
            validation_seed: Seed of the held-out sequence, at least 0; differs from ``seed``.
            validation_count: Number of held-out images, at least 1.
            num_workers: Processes that draw images beside the training; 0 draws them in the training process.

        Raises:
            ValueError: If the two seeds are equal, since the validation would then see training images, or a number is out of
                range.
        """
        super().__init__()
        refuse_below(8, size=size)
        refuse_below(1, batch_size=batch_size, validation_count=validation_count)
        refuse_below(0, seed=seed, validation_seed=validation_seed, num_workers=num_workers)
        if seed == validation_seed:
            raise ValueError(f"Expected `validation_seed` to differ from `seed`, but both are {seed}.")
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.validation_seed = validation_seed
        self.validation_count = validation_count
        self.num_workers = num_workers

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Continue the endless training sequence where a resumed training left it; no two processes draw the same scene."""
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        stream = _Stream(self.size, self.seed, batches_done(self) * self.batch_size * processes, rank, processes)
        workers = self.num_workers
        return DataLoader(
            stream, self.batch_size, num_workers=workers, persistent_workers=workers > 0, worker_init_fn=ignore_signals
        )

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Give the held-out images, drawn once."""
        images = procedural_batch(self.validation_count, self.size, self.validation_seed)
        return DataLoader(TensorDataset(images), self.batch_size)
