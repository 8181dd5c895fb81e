"""The CPU time of the trainer's steps, with that of E and D apart."""

import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from decinv.benchmark.measuring.wrapped import WrappedCodec
from decinv.callbacks import Convergence, Images, InversionProgress, Memory, ResultWriter, Summary
from decinv.codecs import Codec
from decinv.data.images import ImageData
from decinv.modules import DecoderInversion
from decinv.profiler import NullProfiler
from decinv.updates.base import UpdateFactory


class StepTime(NamedTuple):
    """CPU time of a step in the trainer's thread.

    Attributes:
        coding: Milliseconds in E and D.
        rest: Milliseconds beside them.
    """

    coding: float
    rest: float


class MeteredCodec(WrappedCodec):
    """Another codec, with the CPU time that its maps took.

    Attributes:
        seconds: CPU seconds of the calling thread in E and D.
    """

    def __init__(self, inner: Codec) -> None:
        """Start at 0.

        Args:
            inner: The codec that does the work.
        """
        super().__init__(inner)
        self.seconds = 0.0
        self.freeze()

    def _encode(self, image: Tensor) -> Tensor:
        return self._timed(super()._encode, image)

    def _decode(self, latent: Tensor) -> Tensor:
        return self._timed(super()._decode, latent)

    def _timed(self, work: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        began = time.thread_time()
        result = work(rows)
        self.seconds += time.thread_time() - began
        return result


class StepMeter(Callback):
    """Note for each step but the first and the last of a chunk, from the second chunk on, the CPU time of E and D and the rest.

    A step is all that happens from one ``on_train_batch_start`` to the next in the trainer's thread. In the first chunk memory
    is measured, which takes time of its own.

    Attributes:
        times: What was noted.
    """

    def __init__(self, codec: MeteredCodec) -> None:
        """Begin."""
        self.codec = codec
        self.times: list[StepTime] = []
        self._last = (0.0, 0.0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Note the step that has ended."""
        now, coding = time.thread_time(), self.codec.seconds
        if batch_idx > 1 and trainer.current_epoch > 0:
            total, coded = now - self._last[0], coding - self._last[1]
            self.times.append(StepTime(1e3 * coded, 1e3 * (total - coded)))
        self._last = now, coding


class EmptyStep(LightningModule):
    """Decode and encode, and step an optimizer that has next to nothing to do."""

    def __init__(self, codec: Codec) -> None:
        """Take the codec."""
        super().__init__()
        self.automatic_optimization = False
        self.codec = codec
        self.parameter = nn.Parameter(torch.zeros(1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Step a single number."""
        return torch.optim.SGD([self.parameter], lr=0.1)

    @torch.no_grad()
    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Code the latents there and back."""
        self.codec.encode(self.codec.decode(batch))
        self.optimizers().step()  # type: ignore[union-attr]


class Repeated:
    """The same latents in every step of an epoch."""

    def __init__(self, latent: Tensor, steps: int) -> None:
        """Take the latents and the number of steps."""
        self.latent = latent
        self.steps = steps

    def __len__(self) -> int:
        """Give the number of steps."""
        return self.steps

    def __iter__(self) -> Iterator[Tensor]:
        """Give them over and over."""
        return repeat(self.latent, self.steps)


def time_inversion(
    codec: MeteredCodec, rule: UpdateFactory, folder: Path, batch_size: int, steps: int, out: Path
) -> list[StepTime]:
    """Invert the images of a folder for so many steps each, with all callbacks and TensorBoard, as the command line does."""
    meter = StepMeter(codec)
    trainer = Trainer(
        default_root_dir=out,
        callbacks=[Memory(), Convergence(), Images(), ResultWriter(), InversionProgress(), Summary(), meter],
        logger=TensorBoardLogger(save_dir=out, name="", version=""),
        max_epochs=-1,
        **_options(),
    )
    module = DecoderInversion(codec, rule, max_iters=steps, rtol=0.0, patience=None)
    trainer.fit(module, datamodule=ImageData(str(folder), batch_size))
    return meter.times


def time_nothing(codec: MeteredCodec, latent: Tensor, chunks: int, steps: int, out: Path) -> list[StepTime]:
    """Decode and encode so many chunks of latents for so many steps, without callbacks and loggers."""
    meter = StepMeter(codec)
    trainer = Trainer(
        default_root_dir=out, callbacks=[meter], logger=False, max_epochs=chunks, enable_progress_bar=False, **_options()
    )
    trainer.fit(EmptyStep(codec), Repeated(latent, steps))
    return meter.times


def _options() -> dict[str, Any]:
    return {
        "accelerator": "cpu",
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "profiler": NullProfiler(),
    }
