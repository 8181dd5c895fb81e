"""Inputs by number: divided among processes, read ahead, and skipped where a run has them already."""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from decinv.batch import Batch, Failure
from decinv.codecs.base import Codec
from decinv.data.ahead import map_ahead
from decinv.data.base import ChunkData
from decinv.data.buckets import Sample, gather
from decinv.ranges import refuse_below
from decinv.runs import Input, RunDirectory, Share
from decinv.runs.configuration import refuse_missing
from decinv.runs.share import block_size


class IndexedData(ChunkData):
    """Inputs from a list; subclasses say which, in ``list_inputs``, and how one becomes a sample, in ``load``.

    Consecutive inputs form blocks. Each block belongs to one process, and only images of one block are batched together, so
    every input is inverted once, and no chunk depends on the number of processes or on an interruption.

    Attributes:
        run: The run directory whose run is continued: its list of inputs counts, and what is done is left out. ``None`` to list
            and invert everything.
    """

    def __init__(self, batch_size: int, shard: str, block: int | None, workers: int) -> None:
        """Take what all lists of inputs share.

        Args:
            batch_size: Images of one size that are inverted together, at least 1.
            shard: ``i/n``: the part of the blocks to invert.
            block: Inputs in a block, at least 1; ``None`` to choose by their number.
            workers: Threads that load samples ahead, at least 0.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__()
        refuse_below(1, batch_size=batch_size, block=block)
        refuse_below(0, workers=workers)
        self.batch_size = batch_size
        self.shard = Share.parse(shard)
        self.block = block
        self.workers = workers
        self.run: RunDirectory | None = None
        self._listed: Sequence[Input] | None = None
        self._inputs: Collection[Input] | None = None
        self._done = bytearray()

    @abstractmethod
    def list_inputs(self) -> Sequence[Input]:
        """List all inputs of the run, each with its number and a name that no other one has."""

    @abstractmethod
    def load(self, item: Input, codec: Codec) -> Sample | Failure:
        """Load one input.

        Args:
            item: The input.
            codec: The codec, whose ``multiple`` the sides of the image are to be multiples of.

        Returns:
            The image with what is known of it; a ``Failure`` where it cannot be read, which becomes a row with its reason. An
            exception ends the run.
        """

    def image_size(self, item: Input, codec: Codec) -> tuple[int, int] | None:
        """Give height and width of the image that ``load`` would give with a codec, without loading it.

        Where it is ``None``, as here, it is not known.
        """
        return None

    def frame_count(self, item: Input) -> int | None:
        """Give the frames of the clip that ``load`` would give; ``None``, as here, for an image."""
        del item
        return None

    def list_ahead(self) -> None:
        """List the inputs for a new run before ``setup`` does, so that a wrong source costs an old run nothing."""
        self._listed = self.list_inputs()

    def setup(self, stage: str) -> None:
        """List the inputs, so that a wrong source ends a run before it begins, and look up which are done.

        Raises:
            FileNotFoundError: If the list of a run that has rows is gone: another one might have other numbers.
        """
        if self.run is None:
            self._inputs = self.list_inputs()
            self._done = bytearray(len(self._inputs))
        else:
            if self.run.tables:
                refuse_missing(self.run.input_file, "list of inputs")
            self._inputs = self.run.inputs(lambda: self._listed or self.list_inputs())
            self._done = self.run.done(len(self._inputs))
            self._listed = None

    @property
    def inputs(self) -> Collection[Input]:
        """All inputs of the run, in order."""
        if self._inputs is None:
            self.setup("fit")
        assert self._inputs is not None
        return self._inputs

    @property
    def share(self) -> Share:
        """The part of the blocks that this process inverts."""
        if self.trainer is None:
            return self.shard
        return self.shard.part(self.trainer.global_rank, self.trainer.world_size)

    @property
    def total(self) -> int:
        """Number of inputs that this process inverts, unreadable and finished ones included."""
        return sum(len(range(start, min(start + self._block, len(self.inputs)))) for start in self._starts())

    @property
    def finished(self) -> int:
        """How many of them were done when the run began."""
        return self._own(self._done)

    @property
    def left(self) -> int:
        """How many of them have no row in the run's tables now; 0 of a run that writes none."""
        if self.run is None or not self.run.tables:
            return 0
        return self.total - self._own(self.run.done(len(self.inputs)))

    def is_done(self, number: int) -> bool:
        """Whether an input was done when the run began."""
        return bool(self._done[number])

    def owns(self, number: int) -> bool:
        """Whether this process inverts an input."""
        return number // self._block % self.share.count == self.share.index

    def chunks(self, codec: Codec) -> Iterator[Batch]:
        """Load the inputs of each block that is not done, and group them by their size."""
        inputs, size = self.inputs, self._block
        done = self._done
        items = (
            item
            for _, block in self.share.blocks(inputs, size)
            if not all(done[item.number] for item in block)
            for item in block
        )

        def load(item: Input) -> Sample | Failure:
            return self.load(item, codec)._replace(number=item.number)

        loaded = map_ahead(load, items, self.workers, self.batch_size + self.workers)
        for _, block in groupby(loaded, key=lambda sample: (sample.number or 0) // size):
            for chunk in gather(block, self.batch_size, codec.stride, frames=codec.frames and codec.frames.first):
                failures = tuple(failure for failure in chunk.failures if not done[failure.number or 0])
                if failures or not all(done[number] for number in chunk.numbers):
                    yield chunk._replace(failures=failures)

    @property
    def _block(self) -> int:
        return self.block or block_size(len(self.inputs), self.batch_size)

    def _own(self, done: bytearray) -> int:
        """Count what of this process's inputs is done."""
        return sum(sum(done[start : start + self._block]) for start in self._starts())

    def _starts(self) -> range:
        return range(self.share.index * self._block, len(self.inputs), self.share.count * self._block)
