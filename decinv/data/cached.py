"""Training data made once before the training: latents of two sizes with captions, kept in memory and, if wanted, in files."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from lightning import LightningDataModule
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from decinv.data.continued import batches_done
from decinv.ranges import refuse_below
from decinv.runs.atomic import replacing

Captioned = tuple[Tensor, list[str]]
"""Latents in the diffusion model's scale, one in each row, and their captions."""


class CachedLatents(LightningDataModule, ABC):
    """Batches of captioned latents, most of them small, some large, and held-out ones for the validation."""

    def __init__(
        self,
        size: int,
        count: int,
        batch_size: int,
        large_size: int,
        large_count: int,
        large_batch_size: int,
        large_every: int,
        seed: int,
        validation_seed: int,
        validation_count: int,
        cache: str | None,
    ) -> None:
        """Set up the sets; the arguments are those of the subclasses.

        Raises:
            ValueError: If the two seeds are equal, since the validation would then see what is trained on, or if
                another number is out of range.
        """
        super().__init__()
        if seed == validation_seed:
            raise ValueError(f"Expected `validation_seed` to differ from `seed`, but both are {seed}.")
        refuse_below(1, count=count, batch_size=batch_size, validation_count=validation_count)
        refuse_below(1, large_count=large_count, large_batch_size=large_batch_size)
        refuse_below(0, large_every=large_every, seed=seed, validation_seed=validation_seed)
        refuse_below(32, size=size, large_size=large_size)
        self.size, self.count, self.batch_size = size, count, batch_size
        self.large_size, self.large_count, self.large_batch_size = large_size, large_count, large_batch_size
        self.large_every = large_every
        self.seed = seed
        self.validation_seed = validation_seed
        self.validation_count = validation_count
        self.cache = None if cache is None else Path(cache)

    @abstractmethod
    def make(self, count: int, size: int, seed: int, first: int) -> Captioned:
        """Make ``count`` samples of one size in pixels, those from index ``first`` on in the sequence of a seed."""

    @abstractmethod
    def origin(self) -> str:
        """Name all that samples depend on beside the arguments of ``make``, in a few words."""

    def setup(self, stage: str) -> None:
        """Make the sets, or read them from the cache.

        Raises:
            ValueError: If the cache has samples of another origin.
        """
        self.small = self._set(self.count, self.size, self.seed, 0)
        self.large = self._set(self.large_count, self.large_size, self.seed, self.count) if self.large_every else self.small
        self.validation = self._set(self.validation_count, self.size, self.validation_seed, 0)

    def _set(self, count: int, size: int, seed: int, first: int) -> Captioned:
        if self.cache is None:
            return self.make(count, size, seed, first)
        file = self.cache / f"{size}px-seed{seed}-{first}-{first + count}.safetensors"
        if not file.is_file():
            latents, captions = self.make(count, size, seed, first)
            with replacing(file, shared=True) as partial:
                known = {"captions": json.dumps(captions), "origin": self.origin()}
                save_file({"latents": latents.contiguous()}, partial, known)
        with safe_open(file, "pt") as content:
            known = content.metadata()
            if known.get("origin") != self.origin():
                raise ValueError(
                    f"Expected latents by {self.origin()} in the cache, but those in {file} are by "
                    f"{known.get('origin', 'an older version, which did not say')}; give another directory as `cache`."
                )
            return content.get_tensor("latents"), json.loads(known["captions"])

    def train_dataloader(self) -> DataLoader[Captioned]:
        """Continue the endless sequence of batches where a resumed training left it."""
        rank = self.trainer.global_rank if self.trainer else 0
        sizes = (self.batch_size, self.large_batch_size)
        batches = _Batches((self.small, self.large), sizes, self.large_every, [self.seed, rank], batches_done(self))
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[Captioned]:
        """Give the held-out samples in order."""
        latents, captions = self.validation
        starts = range(0, len(captions), self.batch_size)
        batches = [(latents[i : i + self.batch_size], captions[i : i + self.batch_size]) for i in starts]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


class _Batches(IterableDataset[Captioned]):
    """An endless sequence of batches, each of one size; batch n depends on the seeds and n only."""

    def __init__(
        self, sets: tuple[Captioned, Captioned], sizes: tuple[int, int], large_every: int, seeds: list[int], first: int
    ) -> None:
        self.sets, self.sizes, self.large_every, self.seeds, self.first = sets, sizes, large_every, seeds, first

    def __iter__(self) -> Iterator[Captioned]:
        number = self.first
        while True:
            large = self.large_every > 0 and number % self.large_every == self.large_every - 1
            latents, captions = self.sets[large]
            rows = np.random.default_rng([*self.seeds, number]).integers(len(captions), size=self.sizes[large])
            yield latents[rows], [captions[row] for row in rows]
            number += 1
