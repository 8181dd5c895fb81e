"""Clips as inputs: each frame an input of its own, or each clip as a whole."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Literal, NamedTuple

import torch

from decinv.batch import Batch, Failure
from decinv.codecs.base import Codec
from decinv.data.buckets import Sample
from decinv.data.indexed import IndexedData
from decinv.runs import Input
from decinv.video.clips import Clip, Moment

Unit = Literal["frame", "clip"]
"""What is inverted as one sample."""


class ClipInputs(NamedTuple):
    """The inputs of one clip.

    Attributes:
        name: The clip's name.
        items: Its frames in order, or the clip as the only one.
    """

    name: str
    items: tuple[Input, ...]


class ClipData(IndexedData):
    """Clips from a list.

    With the unit ``frame`` every frame is an input of its own, called ``CLIP/00000``, ``CLIP/00001``, ...: frames are batched,
    stopped, written, divided among processes and continued after interruptions one by one, as images are, and no more of a clip
    is in memory than the frames of a chunk. With the unit ``clip`` a clip is one input, for codecs that compress time.

    An input's ``part`` has the moments of its frames, as text; one without is no part of a clip, and fails.
    """

    def __init__(self, batch_size: int, unit: Unit, shard: str, block: int | None, workers: int) -> None:
        """Take what all lists of clips share.

        Args:
            batch_size: Frames or clips of one size that are inverted together, at least 1.
            unit: What is inverted as one sample.
            shard: ``i/n``: the part of the blocks to invert.
            block: Inputs in a block, at least 1; ``None`` to choose by their number.
            workers: Threads that load samples ahead, 0 or 1: frames are read in order.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(batch_size, shard, block, workers)
        self.unit = self.sample = unit

    @abstractmethod
    def load_frame(self, item: Input, moment: Moment, codec: Codec) -> Sample:
        """Load one frame, without number.

        Raises:
            ValueError: If it cannot be loaded; the text is one sentence.
        """

    def load_clip(self, item: Input, moments: tuple[Moment, ...], codec: Codec) -> Sample:
        """Load a whole clip, without number.

        Raises:
            ValueError: If it cannot be loaded; the text is one sentence.
        """
        frames = [self.load_frame(item, moment, codec) for moment in moments]
        return Sample(item.name, torch.stack([frame.image for frame in frames], dim=1), frames[0].size)

    def load(self, item: Input, codec: Codec) -> Sample | Failure:
        """Load a frame, or a clip of as many frames as the codec takes."""
        moments = moments_of(item)
        try:
            if not moments:
                raise ValueError(self.why(item))
            if self.unit == "frame":
                return self.load_frame(item, moments[0], codec)
            if codec.frames is not None:
                codec.frames.latents(len(moments))
            return self.load_clip(item, moments, codec)
        except (ValueError, OSError) as error:
            return Failure(item.name, str(error))

    def frame_count(self, item: Input) -> int | None:
        """Give the frames of a clip that is one sample; ``None`` for a frame."""
        return len(moments_of(item)) if self.unit == "clip" else None

    def why(self, item: Input) -> str:
        """Say in one sentence why an input has no frames."""
        return f"Expected frames in {item.path!r}, but there are none."

    def chunks(self, codec: Codec) -> Iterator[Batch]:
        """Load the inputs of each block that is not done, and group them by their size.

        Raises:
            ValueError: If the codec takes clips only, and frames are the inputs.
        """
        if codec.frames is not None and self.unit == "frame":
            raise ValueError("Expected `data.unit` clip for a codec that compresses time, but got frame; set it.")
        return super().chunks(codec)

    def inputs_of(self, clip: Clip, path: str, first: int) -> Iterator[Input]:
        """Give the inputs of a clip, numbered from ``first`` on."""
        if self.unit == "clip":
            yield Input(first, clip.name, path, " ".join(map(str, clip.moments)))
            return
        for place, moment in enumerate(clip.moments):
            yield Input(first + place, f"{clip.name}/{place:05d}", path, str(moment))

    def clips(self) -> Iterator[ClipInputs]:
        """Give the clips of the run, in order, each with its inputs; inputs that are no part of a clip are left out."""
        return group_clips(self.inputs, self.unit)


def group_clips(inputs: Iterable[Input], unit: Unit) -> Iterator[ClipInputs]:
    """Group inputs, of which those of one clip follow one another, by their clips."""
    members = (item for item in inputs if item.part is not None)
    for name, items in groupby(members, key=lambda item: item.name if unit == "clip" else clip_of(item.name)):
        yield ClipInputs(name, tuple(items))


def clip_of(name: str) -> str:
    """Give the name of the clip that a frame is of."""
    return name.rpartition("/")[0]


def moments_of(item: Input) -> tuple[Moment, ...]:
    """Give the moments of an input's frames."""
    return tuple(Moment.parse(text) for text in str(item.part or "").split())
