"""Pictures of clips: a strip of frames, and how the residual of each frame fell."""

from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from lightning import LightningModule, Trainer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from decinv.callbacks.base import Chunk, ChunkCallback
from decinv.callbacks.images import ERROR_GAIN, error
from decinv.callbacks.run import data_of, draws, put_picture
from decinv.callbacks.sheet import FONT, fitting, panel, plain, printable
from decinv.data.clips import ClipData, moments_of
from decinv.modules.base import Inversion
from decinv.runs.names import safe_name
from decinv.video.clips import Moment

GAP = 4
LEFT = 22
SMALLEST, LARGEST = 96, 192
"""Longer side of a frame in a strip, in pixels: smaller ones are enlarged by a whole factor, larger ones reduced."""


@dataclass
class _Seen:
    """What is known of a clip so far: frames of the strip, and residuals over the iterations, by the frame's place."""

    name: str
    moments: tuple[Moment, ...]
    shown: frozenset[int]
    frames: dict[int, tuple[Image.Image, ...]] = field(default_factory=dict)
    history: dict[int, Tensor] = field(default_factory=dict)
    missing: int = 0


class ClipImages(ChunkCallback):
    """Draw the first clips of a run, each when its last frame is done.

    - ``images/CLIP.png``, and the image ``clips/CLIP`` of loggers that take images: a strip of frames spread over the clip,
      with target, reconstruction and ten times their absolute difference below each other.
    - ``images/CLIP.residual.png`` and ``residuals/CLIP``: the relative residual of each frame over the iterations as a heat
      map, best so far; not for clips whose frames are solved together.

    Of several processes the first one draws what it has inverted itself; of a clip that was begun in an earlier run, what it
    has seen.
    """

    def __init__(self, count: int = 4, frames: int = 8) -> None:
        """Choose how much is drawn.

        Args:
            count: Clips to draw, the first ones of the run; at least 0.
            frames: Frames in a strip, at least 1.

        Raises:
            ValueError: If an argument is out of range.
        """
        if count < 0 or frames < 1:
            raise ValueError(f"Expected `count` to be at least 0 and `frames` at least 1, but got {count} and {frames}.")
        self.count = count
        self.frames = frames
        self._clips: list[_Seen] = []
        self._places: dict[int, tuple[_Seen, int]] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look up which inputs the first clips consist of.

        Raises:
            ValueError: If the data has no clips.
        """
        data = data_of(trainer)
        if not isinstance(data, ClipData):
            raise ValueError(
                f"Expected data with clips, such as VideoData, for ClipImages, but got {type(data).__name__}; use Images."
            )
        self._clips, self._places = [], {}
        for clip in islice(data.clips(), self.count if draws(trainer) else 0):
            moments = tuple(moment for item in clip.items for moment in moments_of(item))
            shown = np.linspace(0, len(moments) - 1, min(self.frames, len(moments))).round().astype(int)
            seen = _Seen(clip.name, moments, frozenset(shown.tolist()), missing=len(clip.items))
            self._clips.append(seen)
            self._places.update((item.number, (seen, place)) for place, item in enumerate(clip.items))

    def on_chunk_end(self, trainer: Trainer, pl_module: Inversion, chunk: Chunk) -> None:
        """Keep what is drawn, and draw the clips that are complete."""
        for index, row in enumerate(chunk.rows):
            seen, place = self._places.pop(-1 if row.number is None else row.number, (None, 0))
            if seen is None:
                continue
            seen.missing -= 1
            if index < len(chunk.batch.names):
                self._keep(seen, place, chunk, index)
            if not seen.missing:
                self._draw(trainer, seen)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw what is not complete."""
        for seen in self._clips:
            if seen.missing:
                self._draw(trainer, seen)
        self._clips, self._places = [], {}

    def _keep(self, seen: _Seen, place: int, chunk: Chunk, index: int) -> None:
        height, width = chunk.batch.size(index)
        target, image = (
            images[index, ..., :height, :width].float().cpu() for images in (chunk.batch.image, chunk.reconstruction)
        )
        if target.ndim == 4:
            for shown in seen.shown:
                seen.frames[shown] = _column(target[:, shown], image[:, shown])
            return
        seen.history[place] = chunk.result.history[:, index].cpu()
        if place in seen.shown:
            seen.frames[place] = _column(target, image)

    def _draw(self, trainer: Trainer, seen: _Seen) -> None:
        pictures = {}
        if seen.frames:
            pictures["clips", ""] = draw_strip(seen.name, [(seen.moments[k], seen.frames[k]) for k in sorted(seen.frames)])
        if seen.history:
            pictures["residuals", ".residual"] = draw_residuals(seen.name, len(seen.moments), seen.history)
        for (tag, suffix), picture in pictures.items():
            put_picture(trainer, f"{safe_name(seen.name)}{suffix}", f"{tag}/{seen.name}", picture, 0)
        seen.frames.clear()
        seen.history.clear()


def draw_strip(name: str, columns: list[tuple[Moment, tuple[Image.Image, ...]]]) -> Image.Image:
    """Draw frames side by side: target, reconstruction and error below each other, with their numbers and times.

    Args:
        name: The clip's name.
        columns: The frames, at least one, each as three pictures of one size.
    """
    width, height = columns[0][1][0].size
    font = ImageFont.truetype(FONT, 11)
    head = 36
    sheet = Image.new("RGB", (LEFT + len(columns) * (width + GAP), head + 3 * (height + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((LEFT, 9), fitting(printable(name), font, sheet.width - LEFT), "black", font, anchor="lm")
    for index, (moment, pictures) in enumerate(columns):
        left = LEFT + index * (width + GAP)
        when = fitting(f"{moment.frame}  {float(moment.seconds):.2f} s", font, width)
        pen.text((left + width // 2, 26), when, "black", font, anchor="mm")
        for place, picture in enumerate(pictures):
            sheet.paste(picture, (left, head + place * (height + GAP)))
    for place, label in enumerate(("target", "D(z)", f"|error| x {ERROR_GAIN}")):
        tag = Image.new("RGB", (height, 16), "white")
        ImageDraw.Draw(tag).text((height // 2, 8), label, "black", font, anchor="mm")
        sheet.paste(tag.rotate(90, expand=True), (3, head + place * (height + GAP)))
    return sheet


def draw_residuals(name: str, count: int, history: dict[int, Tensor]) -> Image.Image:
    """Draw the relative residuals of a clip's frames over the iterations, the best so far, darker for smaller ones.

    Args:
        name: The clip's name.
        count: Number of its frames.
        history: Residuals ``(K,)`` of frames by their place, nan after a frame ended.
    """
    longest = max(len(values) for values in history.values())
    table = torch.full((count, longest), torch.nan)
    for place, values in history.items():
        best = values.nan_to_num(nan=torch.inf).cummin(0).values
        table[place, : len(values)] = torch.where(values.isnan(), torch.nan, best)
    table = torch.where(table.isfinite(), table, torch.nan).clamp_min(1e-12).log10()
    figure = Figure(figsize=(7, 1.6 + min(5.0, 0.16 * count + 0.8)), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("0.93")
    edges = (0.5, longest + 0.5, count - 0.5, -0.5)
    shown = axes.imshow(table.numpy(), cmap="viridis", aspect="auto", interpolation="nearest", extent=edges)
    bar = figure.colorbar(shown, ax=axes)
    bar.set_label("log10 of the relative residual")
    font = ImageFont.truetype(FONT, 17)  # as large as the title's in pixels
    axes.set_title(plain(fitting(printable(name), font, int(0.8 * figure.bbox.width))), fontsize=10)
    axes.set_xlabel("iteration (grey: the frame has ended)")
    axes.set_ylabel("frame")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _column(target: Tensor, image: Tensor) -> tuple[Image.Image, ...]:
    """Give target, reconstruction and error of a frame as pictures of a size to look at."""
    return tuple(panel(part, SMALLEST, LARGEST) for part in (target, image, error(target, image)))
