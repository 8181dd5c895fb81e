"""One image of a run, inverted: as it comes from the solver, or as an earlier start left it on the disk."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from decinv.batch import Failure
from decinv.callbacks.base import Chunk
from decinv.callbacks.edit_rows import edited
from decinv.data.buckets import gather
from decinv.data.indexed import IndexedData
from decinv.modules.sampler import SamplerInversion
from decinv.rows import Row
from decinv.runs import Input, RunDirectory


class Inverted(NamedTuple):
    """An image and what was found of it.

    Attributes:
        row: Its row.
        number: Its number in the run.
        image: The image ``(3, H, W)`` in [-1, 1] without its padding, on the CPU.
        prompt: The prompt that it was inverted with.
        noise: Its noise ``(1, C, h, w)``; ``None`` where none is known.
        reconstruction: The image sampled from that, like ``image``; ``None`` where it is not at hand.
    """

    row: Row
    number: int
    image: Tensor
    prompt: str
    noise: Tensor | None
    reconstruction: Tensor | None


def from_chunk(module: SamplerInversion, chunk: Chunk, index: int) -> Inverted:
    """Take an image of a finished chunk."""
    (height, width), row, noise = chunk.batch.size(index), chunk.rows[index], chunk.result.noise
    image, reconstruction = (
        images[index, :, :height, :width].float().cpu() for images in (chunk.batch.image, chunk.reconstruction)
    )
    found = None if noise is None or not noise[index].isfinite().all() else noise[index : index + 1]
    number = index if row.number is None else row.number
    return Inverted(row, number, image, module.prompts(chunk.batch)[index], found, reconstruction)


def from_disk(module: SamplerInversion, data: IndexedData, run: RunDirectory, item: Input, row: Row) -> Inverted:
    """Load an image that an earlier start inverted.

    Raises:
        ValueError: If the image cannot be loaded.
    """
    noise = run.known_noise(row)
    sample = data.load(item, module.codec)
    if isinstance(sample, Failure):
        raise ValueError(sample.reason)
    (batch,) = gather([sample], 1, module.codec.stride)
    height, width = batch.size(0)
    image = batch.image[0, :, :height, :width].float().cpu()
    found = None if noise is None else noise[None].to(module.device)
    return Inverted(row, item.number, image, module.prompts(batch)[0], found, None)


def unedited(data: IndexedData, run: RunDirectory, table: Callable[[str], Path]) -> list[tuple[Input, Row]]:
    """List this process's images that earlier starts inverted, and whose edits failed or are gone.

    Those whose noise was not written are among them if their edits failed.

    Args:
        data: Has the inputs.
        run: Has the rows.
        table: Gives the table of edits of an image by its name.
    """
    rows = (row for row in run.rows() if row.number is not None and data.owns(row.number))
    left = {row.number: row for row in rows if (row.latents or table(row.name).exists()) and not edited(table(row.name))}
    return [(item, left[item.number]) for item in data.inputs if item.number in left] if left else []
