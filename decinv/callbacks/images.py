"""Pictures to look at: target, reconstruction and error, side by side."""

from lightning import Trainer
from PIL import Image
from torch import Tensor

from decinv.callbacks.base import Chunk, ChunkCallback
from decinv.callbacks.run import draws, put_picture
from decinv.callbacks.sheet import SheetRow, draw_sheet
from decinv.modules.base import Inversion
from decinv.ranges import refuse_below
from decinv.rows import Row
from decinv.runs.names import safe_name

ERROR_GAIN = 10


class Images(ChunkCallback):
    """Draw target, reconstruction and ten times their absolute difference for the first samples of a run.

    Each sample gives one ``images/NAME.png`` in the run directory, and one image of loggers that take images, with its name,
    status and PSNR; of a clip that is one sample, the middle frame is drawn. Panels show the image without its padding, below
    192 pixels enlarged and above 768 pixels reduced. Of several processes the first one draws, and of a run that is continued
    each start.
    """

    def __init__(self, count: int = 8) -> None:
        """Choose how many.

        Args:
            count: Samples to draw, the first ones of each start; at least 0.

        Raises:
            ValueError: If ``count`` is below 0.
        """
        refuse_below(0, count=count)
        self.count = count
        self._drawn = 0

    def on_chunk_end(self, trainer: Trainer, pl_module: Inversion, chunk: Chunk) -> None:
        """Draw as many of the chunk's samples as are still wanted."""
        if not draws(trainer):
            return
        wanted = chunk.rows[: min(len(chunk.batch.names), self.count - self._drawn)]
        for index, row in enumerate(wanted):
            height, width = chunk.batch.size(index)
            pair = [images[index, ..., :height, :width] for images in (chunk.batch.image, chunk.reconstruction)]
            target, reconstruction = (one if one.ndim == 3 else one[:, one.shape[1] // 2] for one in pair)
            picture, step = draw(target, reconstruction, row), self._drawn + index
            put_picture(trainer, safe_name(row.name), f"images/{row.name}", picture, step)
        self._drawn += len(wanted)


def draw(target: Tensor, reconstruction: Tensor, row: Row) -> Image.Image:
    """Draw one sample.

    Args:
        target: The image x ``(3, H, W)`` in [-1, 1].
        reconstruction: The image D(z), of the same shape and range.
        row: Its row, for the labels.
    """
    psnr = "" if row.psnr_db is None else f", {row.psnr_db:.2f} dB"
    panels = {
        "target": target,
        f"reconstruction{psnr}": reconstruction,
        f"|error| x {ERROR_GAIN}": error(target, reconstruction),
    }
    return draw_sheet([SheetRow(heading(row), panels)])


def heading(row: Row) -> str:
    """Give the name of a sample and how its inversion ended."""
    return f"{row.name}  ({row.status.name.lower().replace('_', ' ')})"


def error(target: Tensor, image: Tensor) -> Tensor:
    """Give ten times the absolute difference of two images ``(3, H, W)`` in [-1, 1] as such an image, 0 as black."""
    return (image - target).abs() * ERROR_GAIN - 1
