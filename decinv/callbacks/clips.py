"""The files of a run's clips, joined from those of their frames."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from decinv.batch import Failure
from decinv.callbacks.images import draw
from decinv.callbacks.run import as_inversion, data_of, observers_of, run_directory, share_of
from decinv.callbacks.writer import ResultWriter
from decinv.codecs.base import Codec
from decinv.data.buckets import Sample
from decinv.data.clips import ClipData, ClipInputs, moments_of
from decinv.images.eight_bit import to_picture
from decinv.memory import in_halves
from decinv.metrics.pixel import psnr_db
from decinv.rows import Row
from decinv.runs import Input, RunDirectory, merge_if_complete
from decinv.runs.atomic import replacing
from decinv.runs.clips import ClipRow, FrameRow, summarise
from decinv.runs.latents import write_latents
from decinv.runs.merge import survey
from decinv.runs.names import safe_name
from decinv.runs.table import format_row, read_rows, write_table
from decinv.video.clips import Moment
from decinv.video.writing import LosslessVideo, PreviewVideo, Video


class ClipWriter(Callback):
    """Join the results of frames to clips, once all frames of a run have theirs.

    Of several processes the one that ends last does it, and a run that is started again when it was done or broken off. One
    clip is joined after another, with no more frames of it in memory than are inverted together; D(z) is decoded once more.

    - ``clips/NAME.safetensors``: the latents of a clip, one tensor ``(C, T, h, w)`` called NAME, raw, float32; nan in frames
      without one. Its metadata has the codec's path, scaling factor and shift, and as JSON the frames' numbers and times.
    - ``clips/NAME.preview.mp4``: target, reconstruction and ten times their absolute difference side by side, H.264.
    - ``clips/NAME.mkv``: D(z) without padding at 8 bits, without loss (FFV1).
    - ``clips.csv``: one row a clip, with the columns of ``decinv.runs.clips.ClipRow``; ``frames.csv``: one row a frame, with
      those of ``FrameRow``.
    """

    def __init__(self, preview: bool = True, lossless: bool = False) -> None:
        """Choose what is written beside latents and tables.

        Args:
            preview: Whether to write ``clips/NAME.preview.mp4``.
            lossless: Whether to write ``clips/NAME.mkv``.
        """
        self.preview = preview
        self.lossless = lossless
        self._shared = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse runs without clips or results.

        Raises:
            ValueError: If the data has no clips, or no ``ResultWriter`` writes latents.
        """
        as_inversion(pl_module, self)
        data = data_of(trainer)
        if not isinstance(data, ClipData):
            raise ValueError(
                f"Expected data with clips, such as VideoData, for ClipWriter, but got {type(data).__name__}; remove it from "
                "`trainer.callbacks`."
            )
        if not any(isinstance(other, ResultWriter) and other.latents for other in observers_of(trainer)):
            raise ValueError("Expected a ResultWriter that writes latents beside ClipWriter, but got none; add it.")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Join the clips, after all callbacks have come to their end; not called after exceptions."""
        data = data_of(trainer)
        run = RunDirectory(run_directory(trainer))
        joined = run.path / "clips.csv"
        if not isinstance(data, ClipData) or joined.exists() or not run.results.exists():
            return
        self._shared = share_of(trainer).count > 1
        if not (merge_if_complete(run) if self._shared else survey(run).complete):  # one process alone has merged already
            return
        codec = as_inversion(pl_module, self).codec.to(trainer.strategy.root_device)
        rows: list[ClipRow] = []

        def frames() -> Iterator[FrameRow]:
            for clip, samples in _paired(data.clips(), read_rows(run.results)):
                found = list(self._join(run, data, codec, clip, samples, rows))
                yield from found
            damaged = {item.number for item in data.inputs if item.part is None}
            rows.extend(summarise(row.name, [], [row], "") for row in read_rows(run.results) if row.number in damaged)

        try:
            write_table(run.path / "frames.csv", FrameRow._fields, map(format_row, frames()), self._shared)
            write_table(joined, ClipRow._fields, map(format_row, rows), self._shared)
        finally:
            data.teardown(stage)
            codec.cpu()

    def _join(
        self, run: RunDirectory, data: ClipData, codec: Codec, clip: ClipInputs, samples: list[Row], rows: list[ClipRow]
    ) -> Iterator[FrameRow]:
        """Write the files of one clip, give the rows of its frames, and add its own to ``rows``."""
        stem = f"clips/{safe_name(clip.name)}"
        samples = _of_one_size(run, samples)
        usable = any(sample.latents for sample in samples)
        found: list[FrameRow] = []
        with ExitStack() as files:
            preview = lossless = None  # until there is a picture for them
            for frame in _frames(run, data, codec, clip.items, samples):
                found.append(frame.described(clip.name, len(found)))
                if frame.target is None or frame.reconstruction is None:
                    continue
                seconds = frame.moment.seconds - moments_of(clip.items[0])[0].seconds
                if self.lossless:
                    lossless = lossless or self._begun(files, LosslessVideo, run.path / f"{stem}.mkv")
                    lossless.add(to_picture(frame.reconstruction), seconds)
                if self.preview:
                    preview = preview or self._begun(files, PreviewVideo, run.path / f"{stem}.preview.mp4")
                    label = frame.row._replace(name=f"{clip.name}  frame {frame.moment.frame}", psnr_db=frame.psnr_db)
                    preview.add(np.asarray(draw(frame.target, frame.reconstruction, label)), seconds)
        latent = _latent(run, samples, data.unit == "clip") if usable else None
        if latent is not None:
            moments = [moment for item in clip.items for moment in moments_of(item)]
            details = {
                **codec.metadata(),
                "frames": json.dumps([moment.frame for moment in moments]),
                "seconds": json.dumps([float(moment.seconds) for moment in moments]),
            }
            write_latents(run.path / f"{stem}.safetensors", {clip.name: latent}, details, self._shared)
        rows.append(summarise(clip.name, found, samples, "" if latent is None else f"{stem}.safetensors"))
        yield from found

    def _begun(self, files: ExitStack, kind: type[Video], path: Path) -> Video:
        """Begin a video that takes its place when it is whole."""
        return files.enter_context(kind(files.enter_context(replacing(path, self._shared))))


class _Frame(NamedTuple):
    """One frame of a clip: without padding where it has images."""

    moment: Moment
    row: Row
    psnr_db: float | None
    target: Tensor | None = None
    reconstruction: Tensor | None = None

    def described(self, clip: str, place: int) -> FrameRow:
        frame, seconds = self.moment
        row, alone = self.row, self.row.name != clip
        measured = (row.iterations, row.residual if alone else None, self.psnr_db, row.nmse_db if alone else None)
        return FrameRow(clip, place, frame, float(seconds), row.status.name, *measured, row.reason)


def _paired(clips: Iterable[ClipInputs], rows: Iterator[Row]) -> Iterator[tuple[ClipInputs, list[Row]]]:
    """Give each clip with the rows of its inputs; both come in the order of the inputs."""
    for clip in clips:
        wanted = {item.number for item in clip.items}
        found: list[Row] = []
        while len(found) < len(wanted):
            row = next(rows)
            if row.number in wanted:
                found.append(row)
        yield clip, found


def _of_one_size(run: RunDirectory, rows: list[Row]) -> list[Row]:
    """Leave out latents of another size than a clip's first one, as there are where its file changed between two starts."""
    shapes = [run.latent(row).shape if row.latents else None for row in rows]
    first = next(filter(None, shapes), None)
    why = "Expected frames of one size, but this one's latent has another than the first; its file changed during the run."
    return [
        row if shape in (None, first) else row._replace(latents="", reason=why) for row, shape in zip(rows, shapes, strict=True)
    ]


@torch.no_grad()
def _frames(run: RunDirectory, data: ClipData, codec: Codec, items: tuple[Input, ...], rows: list[Row]) -> Iterator[_Frame]:
    """Give the frames of a clip in order, decoded as many at a time as are inverted together."""
    many = data.batch_size if data.unit == "frame" else 1
    for start in range(0, len(items), many):
        part = list(zip(items[start : start + many], rows[start : start + many], strict=True))
        latents = [run.latent(row) for _, row in part if row.latents]
        decoded = iter(in_halves(codec.decode, torch.stack(latents).to(codec.device)).clamp(-1, 1).cpu() if latents else ())
        for item, row in part:
            image = next(decoded) if row.latents else None
            yield from _seen(item, row, data.load(item, codec), image)


def _seen(item: Input, row: Row, target: Sample | Failure, image: Tensor | None) -> Iterator[_Frame]:
    """Give the frames of one sample: itself, or those of a clip ``(3, T, H, W)``; without images if its file is another now."""
    moments = moments_of(item)
    if image is None or isinstance(target, Failure) or target.image.shape != image.shape:
        yield from (_Frame(moment, row, row.psnr_db if len(moments) == 1 else None) for moment in moments)
        return
    height, width = target.size
    pair = [images[..., :height, :width] for images in (target.image, image)]
    if image.ndim == 3:
        yield _Frame(moments[0], row, row.psnr_db, *pair)
        return
    for place, moment in enumerate(moments):
        wanted, got = (images[:, place] for images in pair)
        yield _Frame(moment, row, float(psnr_db(got[None], wanted[None])), wanted, got)


def _latent(run: RunDirectory, rows: list[Row], whole: bool) -> Tensor:
    """Give the latent ``(C, T, h, w)`` of a clip of which a sample has one."""
    if whole:
        return run.latent(rows[0])
    found = [run.latent(row) if row.latents else None for row in rows]
    blank = torch.full_like(next(latent for latent in found if latent is not None), torch.nan)
    return torch.stack([blank if latent is None else latent for latent in found], dim=1)
