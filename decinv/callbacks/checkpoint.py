"""Checkpoints in the middle of a chunk, for chunks that take long."""

import os
import time
import warnings
import zipfile
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from decinv.batch import Batch
from decinv.callbacks.run import as_inversion, run_directory
from decinv.interruption import Interrupted
from decinv.modules.base import Inversion
from decinv.ranges import refuse_below
from decinv.runs import RunDirectory
from decinv.runs.atomic import replacing
from decinv.runs.merge import survey


class ChunkCheckpoint(Callback):
    """Save the running chunk now and then, so that a run that is started again continues in its middle, bit for bit.

    The file is ``checkpoints/CHUNK.pt`` in the run directory, where CHUNK is a hash of the samples' names, so that it does
    not matter which process continues. It holds the names, a digest of the images and ``Solver.state_dict()``: a few times
    the latents, and with Anderson one image for each iteration of its history and sample; where a sampler is inverted, also
    the points of the steps that are done. It is written at once or not at all, also when an exception ends the run, unless a
    step's bookkeeping was broken off; then the last one stays. That of a finished chunk is removed when the run ends or a later
    chunk has its own, for results may be written some time after.

    A chunk that begins and finds its file goes on from there. A file that is damaged, or of other images, another number of
    iterations or another update rule, is ignored with a warning. Other options must be as they were. Worth its place where
    chunks take many minutes::

        trainer:
          callbacks:
            - class_path: ChunkCheckpoint
              init_args: {every_n_seconds: 300}
    """

    def __init__(self, every_n_seconds: float = 300.0) -> None:
        """Set how much may be lost.

        Args:
            every_n_seconds: Shortest time between two checkpoints of a chunk, and from its start to the first, at least 0.

        Raises:
            ValueError: If ``every_n_seconds`` is below 0.
        """
        refuse_below(0, every_n_seconds=every_n_seconds)
        self.every_n_seconds = every_n_seconds
        self._batch: Batch | None = None
        self._path = Path()
        self._saved_at = 0.0
        self._finished: list[Path] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse modules that are no inversions."""
        as_inversion(pl_module, self)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Leave the last chunk, and be there when the solver has started on the next."""
        if batch_idx == 0:
            module = as_inversion(pl_module, self)
            self._leave(module)
            module.resume = partial(self._enter, module, batch, run_directory(trainer) / "checkpoints")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save the chunk if it is time to."""
        module = as_inversion(pl_module, self)
        if not module.solver.done and time.monotonic() - self._saved_at >= self.every_n_seconds:
            self._save(module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last chunk."""
        self._leave(as_inversion(pl_module, self))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove what is left of finished chunks, after all callbacks have come to their end; not called after exceptions.

        Once all inputs have their rows, that is every file, since a start that was broken off may have left some.
        """
        self._remove_finished()
        run = RunDirectory(run_directory(trainer))
        left = list((run.path / "checkpoints").glob("*.pt*"))
        if left and run.input_file.exists() and survey(run).complete:
            for path in left:
                path.unlink(missing_ok=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the chunk; the exception that ends the run is the one to show, whatever happens here."""
        module = as_inversion(pl_module, self)
        try:
            if self._batch is not None and module.solver.settled and not module.solver.done:
                self._save(module)
        except Exception as error:
            warnings.warn(f"Expected to write {self._path}, but: {error}; an older one, if any, is still there.", stacklevel=2)
        self._batch = None

    def _enter(self, module: Inversion, batch: Batch, directory: Path) -> None:
        """Take note of the chunk that has begun, and let the solver go on where its file was written."""
        names = "\0".join(batch.names).encode("utf-8", "surrogatepass")
        self._path = directory / f"{sha256(names).hexdigest()[:16]}.pt"
        self._saved_at = time.monotonic()
        if batch.names and self._path.exists():
            try:
                module.solver.load_state_dict(_read(self._path, batch))
            except Exception as error:  # whatever is wrong with the file, the chunk can start at its beginning
                warnings.warn(f"{self._path} is ignored and its chunk starts at the beginning: {error}", stacklevel=2)
        self._batch = batch

    def _leave(self, module: Inversion) -> None:
        """Take note that a chunk is finished; save one that the trainer ended before its time, as ``max_time`` does."""
        if self._batch is None:
            return
        if not module.solver.done:
            self._save(module)
        elif self._path.exists():
            self._finished.append(self._path)
        self._batch = None

    def _remove_finished(self) -> None:
        while self._finished:
            self._finished.pop().unlink(missing_ok=True)

    def _save(self, module: Inversion) -> None:
        """Write the chunk's file, whole and on the disk before it takes the place of the last one."""
        if self._batch is None:
            return
        content = {
            "names": list(self._batch.names),
            "images": _digest(self._batch.image),
            "solver": module.solver.state_dict(),
        }
        with replacing(self._path) as path, path.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:  # what torch makes of a disk that is full, and of a signal while it writes
                if isinstance(error.__context__, OSError | Interrupted):
                    raise error.__context__ from error
                raise
            file.flush()
            os.fsync(file.fileno())
        self._remove_finished()
        self._saved_at = time.monotonic()


def _read(path: Path, batch: Batch) -> dict[str, Any]:
    """Give the solver's state in a checkpoint of ``batch``.

    Raises:
        ValueError: If the file is damaged, or of another chunk or other images.
        Exception: What torch and zipfile raise on files that are no checkpoints.
    """
    with zipfile.ZipFile(path) as archive:  # torch does not compare checksums
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"Expected a whole file, but its part {damaged} is damaged.")
    content = torch.load(path, map_location="cpu", weights_only=True)
    if content["names"] != list(batch.names):
        raise ValueError(f"Expected the checkpoint of {_brief(batch.names)}, but got that of {_brief(content['names'])}.")
    if content["images"] != _digest(batch.image):
        raise ValueError(f"Expected the checkpoint of the same images, but those of {_brief(batch.names)} have changed.")
    state: dict[str, Any] = content["solver"]
    return state


def _brief(names: tuple[str, ...] | list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _digest(image: Tensor) -> str:
    """Give the SHA-256 of shape and pixels."""
    digest = sha256(repr(tuple(image.shape)).encode())
    digest.update(image.detach().cpu().flatten().numpy().data)
    return digest.hexdigest()
