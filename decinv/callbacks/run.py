"""What callbacks ask of a run: its inversion, its directory, its loggers."""

from pathlib import Path

import numpy as np
from lightning import Callback, LightningModule, Trainer
from PIL import Image

from decinv.modules.base import Inversion


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


def run_directory(trainer: Trainer) -> Path:
    """Give the directory that holds everything that a run writes."""
    return Path(trainer.default_root_dir)


def log_scalars(trainer: Trainer, scalars: dict[str, float], step: int) -> None:
    """Hand scalars to every logger."""
    for logger in trainer.loggers:
        logger.log_metrics(scalars, step=step)


def log_image(trainer: Trainer, tag: str, image: Image.Image, step: int) -> None:
    """Hand an image to every logger that takes images as TensorBoard's does."""
    for logger in trainer.loggers:
        experiment = getattr(logger, "experiment", None)
        add = getattr(experiment, "add_image", None)
        if add is not None:
            add(tag, np.asarray(image.convert("RGB")), step, dataformats="HWC")
