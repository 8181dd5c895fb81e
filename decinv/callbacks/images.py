"""Pictures to look at: target, reconstruction and error, side by side."""

from pathlib import Path

import matplotlib
import torch
from lightning import Trainer
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from decinv.callbacks.base import Chunk, ChunkCallback
from decinv.callbacks.run import draws, log_image, run_directory
from decinv.modules.base import Inversion
from decinv.rows import Row
from decinv.runs.names import safe_name

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""A font with wide coverage that comes with matplotlib."""

ERROR_GAIN = 10
GAP = 8
SMALLEST, LARGEST = 192, 768
"""Sides of a panel in pixels: smaller ones are enlarged by a whole factor, larger ones reduced."""


class Images(ChunkCallback):
    """Draw target, reconstruction and ten times their absolute difference for the first samples of a run.

    Each sample gives one ``images/NAME.png`` in the run directory, and one image of loggers that take images, with its name,
    status and PSNR; of a clip that is one sample, the middle frame is drawn. Panels show the image without its padding, below
    192 pixels enlarged and above 768 pixels reduced. Of several processes the first one draws.
    """

    def __init__(self, count: int = 8) -> None:
        """Choose how many.

        Args:
            count: Samples to draw, the first ones of the run; at least 0.

        Raises:
            ValueError: If ``count`` is below 0.
        """
        if count < 0:
            raise ValueError(f"Expected `count` to be at least 0, but got {count}.")
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
            picture = draw(target, reconstruction, row)
            path = run_directory(trainer) / "images" / f"{safe_name(row.name)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
            log_image(trainer, f"images/{row.name}", picture, self._drawn + index)
        self._drawn += len(wanted)


def draw(target: Tensor, reconstruction: Tensor, row: Row) -> Image.Image:
    """Draw one sample.

    Args:
        target: The image x ``(3, H, W)`` in [-1, 1].
        reconstruction: The image D(z), of the same shape and range.
        row: Its row, for the labels.
    """
    error = (reconstruction - target).abs() * ERROR_GAIN - 1
    psnr = "" if row.psnr_db is None else f", {row.psnr_db:.2f} dB"
    panels = {"target": target, f"reconstruction{psnr}": reconstruction, f"|error| x {ERROR_GAIN}": error}
    pictures = [_panel(panel) for panel in panels.values()]
    side, tall = pictures[0].size
    size = max(11, min(20, side // 24))
    font = ImageFont.truetype(FONT, size)
    head, foot = 2 * size + GAP, 2 * size
    sheet = Image.new("RGB", (3 * side + 4 * GAP, head + tall + foot), "white")
    pen = ImageDraw.Draw(sheet)
    title = f"{row.name.encode('utf-8', 'replace').decode()}  ({row.status.name.lower().replace('_', ' ')})"
    pen.text((GAP, head // 2), _fitting(title.replace("\n", " "), font, sheet.width - 2 * GAP), "black", font, anchor="lm")
    for index, (label, picture) in enumerate(zip(panels, pictures, strict=True)):
        left = GAP + index * (side + GAP)
        sheet.paste(picture, (left, head))
        pen.text((left + side // 2, head + tall + foot // 2), _fitting(label, font, side), "black", font, anchor="mm")
    return sheet


def _panel(image: Tensor) -> Image.Image:
    """Give an image ``(3, H, W)`` in [-1, 1] as a picture of a size to look at."""
    pixels = ((image.nan_to_num(-1.0).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    picture = Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
    longest = max(picture.size)
    if longest > LARGEST:
        return picture.resize([max(1, round(v * LARGEST / longest)) for v in picture.size], Image.Resampling.LANCZOS)
    factor = -(-SMALLEST // longest)
    return picture.resize([v * factor for v in picture.size], Image.Resampling.NEAREST)


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Shorten ``text`` in its middle until it fits."""
    kept = len(text)
    short = text
    while font.getlength(short) > width and kept > 2:
        kept -= 1
        short = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return short
