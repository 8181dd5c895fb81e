"""What callbacks ask of a run: its inversion, its directory, its loggers."""

from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from decinv.data.indexed import IndexedData
from decinv.modules.base import Inversion
from decinv.runs import Share


def as_inversion(module: LightningModule, callback: Callback) -> Inversion:
    """Give ``module``, known to be an inversion.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(module, Inversion):
        raise TypeError(
            f"Expected {type(callback).__name__} to observe an inversion, but got {type(module).__name__}; "
            "remove it from `trainer.callbacks`."
        )
    return module


def data_of(trainer: Trainer) -> LightningDataModule | None:
    """Give the data of a run; ``None`` where the trainer was given a loader instead."""
    data: LightningDataModule | None = getattr(trainer, "datamodule", None)
    return data


def observers_of(trainer: Trainer) -> list[Callback]:
    """Give the callbacks of a run, in their order; the list is the trainer's own."""
    observers: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return observers


def run_directory(trainer: Trainer) -> Path:
    """Give the directory that holds everything that a run writes."""
    return Path(trainer.default_root_dir)


def draws(trainer: Trainer) -> bool:
    """Whether this process draws what is there once a run directory: the first one of all processes and jobs that share it."""
    return share_of(trainer).index == 0


def share_of(trainer: Trainer) -> Share:
    """Give this process's share of the run."""
    data = data_of(trainer)
    return data.share if isinstance(data, IndexedData) else Share(trainer.global_rank, trainer.world_size)


def log_scalars(trainer: Trainer, scalars: dict[str, float], step: int) -> None:
    """Hand scalars to every logger."""
    for logger in trainer.loggers:
        logger.log_metrics(scalars, step=step)


def last_steps(trainer: Trainer) -> dict[str, int]:
    """Give the last step at which earlier starts of a run logged each scalar to TensorBoard."""
    steps: dict[str, int] = {}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero and Path(logger.log_dir).is_dir():
            for tag, step in _read_steps(logger, trainer.current_epoch).items():
                steps[tag] = max(steps.get(tag, step), step)
    return steps


def _read_steps(logger: TensorBoardLogger, epoch: int) -> dict[str, int]:
    """Read what was logged before an epoch, once for all callbacks, since it takes seconds after a long run."""
    if _logged.get(logger, (None, {}))[0] != epoch:
        events = EventAccumulator(logger.log_dir, {SCALARS: 1}).Reload()  # which keeps the last one
        _logged[logger] = (epoch, {tag: events.Scalars(tag)[-1].step for tag in events.Tags()[SCALARS]})
    return _logged[logger][1]


_logged: WeakKeyDictionary[TensorBoardLogger, tuple[int, dict[str, int]]] = WeakKeyDictionary()


def put_picture(trainer: Trainer, name: str, tag: str, picture: Image.Image, step: int) -> None:
    """Write ``images/NAME.png`` into the run directory, and hand the picture to the loggers."""
    path = run_directory(trainer) / "images" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    log_image(trainer, tag, picture, step)


def log_image(trainer: Trainer, tag: str, image: Image.Image, step: int) -> None:
    """Hand an image to every logger that takes images as TensorBoard's does."""
    for logger in trainer.loggers:
        experiment = getattr(logger, "experiment", None)
        add = getattr(experiment, "add_image", None)
        if add is not None:
            add(tag, np.asarray(image.convert("RGB")), step, dataformats="HWC")
