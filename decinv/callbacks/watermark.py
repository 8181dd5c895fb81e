"""The callback that looks for watermarks in the noise that a run recovered."""

from lightning import Callback, LightningModule, Trainer
from rich.console import Console

from decinv.callbacks.marks import detect_in_run
from decinv.callbacks.run import data_of, observers_of, run_directory, share_of
from decinv.callbacks.writer import ResultWriter
from decinv.data.indexed import IndexedData
from decinv.data.marked import MarkedNoise
from decinv.modules.sampler import SamplerInversion
from decinv.runs import RunDirectory, merge_if_complete
from decinv.watermark import Watermark


class WatermarkDetection(Callback):
    """Once all images of a run are inverted, look for marks; see ``decinv.callbacks.marks.detect_in_run`` for the files.

    It reads the run directory, so it stands after ``ResultWriter`` in the list of callbacks. Of several processes, the one that
    merges the tables does it.
    """

    def __init__(self, watermark: Watermark | None = None) -> None:
        """Say what to look for.

        Args:
            watermark: The watermark; null for that of the data. Of another one than theirs, such as a wrong key, there are
                verdicts but no rates, since its marks are none of those that the images carry.
        """
        self.watermark = watermark

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse modules that recover no noise, and data without a watermark.

        Raises:
            TypeError: If ``pl_module`` inverts no sampler.
            ValueError: If no watermark is given, and the data have none, or no ``ResultWriter`` before writes the noise.
        """
        if not isinstance(pl_module, SamplerInversion):
            raise TypeError(f"Expected a `SamplerInversion`, which recovers noise, but got {type(pl_module).__name__}.")
        if self._watermark(trainer) is None:
            raise ValueError("Expected `watermark`, since the data carry none; give the keys to look for.")
        observers = observers_of(trainer)
        before = observers[: observers.index(self)] if self in observers else observers
        if not any(isinstance(other, ResultWriter) and other.latents for other in before):
            raise ValueError("Expected a ResultWriter that writes latents before WatermarkDetection, but got none; add it.")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse images of which no noise can carry the marks, before they are inverted.

        The sizes of images are looked up until one fits.

        Raises:
            ValueError: If none does.
        """
        data, watermark = data_of(trainer), self._watermark(trainer)
        if not isinstance(data, IndexedData) or not isinstance(pl_module, SamplerInversion) or watermark is None:
            return
        codec, shapes = pl_module.codec, set()
        for item in data.inputs:
            if (size := data.image_size(item, codec)) is None:
                continue
            shapes.add((codec.latent_channels, *(side // codec.stride for side in size)))
            if watermark.shape in shapes:
                return
        if shapes:
            found = ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
            raise ValueError(
                f"Expected noise of {' x '.join(map(str, watermark.shape))}, which carries the marks, but images have {found}; "
                "give keys of that shape, or images of that size."
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the finished run."""
        run, watermark = RunDirectory(run_directory(trainer)), self._watermark(trainer)
        if watermark is None or not run.results.exists():
            return
        if share_of(trainer).count > 1 and not merge_if_complete(run):
            return
        data = data_of(trainer)
        carried = data.watermark if isinstance(data, MarkedNoise) else None
        lines = detect_in_run(run, watermark, data.which if isinstance(data, MarkedNoise) and watermark is carried else None)
        if carried not in (None, watermark):
            lines.append("rates are not known, since the images carry the marks of another watermark than that looked for")
        Console().print("\n".join(lines), highlight=False)

    def _watermark(self, trainer: Trainer) -> Watermark | None:
        data = data_of(trainer)
        return self.watermark or (data.watermark if isinstance(data, MarkedNoise) else None)
