"""What options are refused for before a run begins, where the parser takes them."""

import os
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import lightning
from lightning import Callback
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import callbacks as stock

LIGHTNING = Path(lightning.__file__).parent

OF_TRAININGS: tuple[type[Callback], ...] = (
    stock.BaseFinetuning,
    stock.BatchSizeFinder,
    stock.EarlyStopping,
    stock.GradientAccumulationScheduler,
    stock.LearningRateFinder,
    stock.ModelPruning,
    stock.SpikeDetection,
    stock.StochasticWeightAveraging,
    stock.WeightAveraging,
)
"""Lightning's callbacks that watch a loss or change weights, gradients or batches."""


def refuse_parts(trainer: Any) -> None:
    """Refuse options in epochs and batches, which are chunks and iterations here and follow from the images.

    Raises:
        ValueError: If there is one.
    """
    limits = {
        "max_epochs": -1,
        "limit_train_batches": None,
        "overfit_batches": 0,
        "fast_dev_run": False,
        "reload_dataloaders_every_n_epochs": 0,  # which would begin at the first chunk again, for ever
        "val_check_interval": None,
    }
    for option, free in limits.items():
        if trainer[option] not in (free, None):
            raise ValueError(
                f"Expected no `trainer.{option}`, since an epoch is a chunk of images and a batch an iteration, but got "
                f"{trainer[option]}; leave it out, and set `data.limit` for fewer images, `model.max_iters` for fewer "
                "iterations, or `trainer.max_time` to stop early."
            )


def refuse_training(callbacks: Iterable[Callback]) -> None:
    """Refuse callbacks that need a training, of which an inversion has no loss, and has nothing to train but its latents.

    Raises:
        ValueError: If there is one.
    """
    for callback in callbacks:
        if isinstance(callback, OF_TRAININGS):
            raise ValueError(
                f"Expected callbacks for an inversion, but got {type(callback).__name__}, which is for the loss, the weights "
                "or the batches of a training; leave it out, and set `model.max_iters`, `model.rtol` or `trainer.max_time` to "
                "stop early."
            )


def refused_by_trainer(error: Exception) -> bool:
    """Whether Lightning itself raised an error while it ran, as about a metric that there is not; not what it called."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return isinstance(error, MisconfigurationException) or raised_in.is_relative_to(LIGHTNING)


def refuse_twice(callbacks: Any) -> None:
    """Refuse two of this package's callbacks of one class, which would write the same files.

    Raises:
        ValueError: If there are.
    """
    paths = [entry.class_path for entry in callbacks] if isinstance(callbacks, list) else []
    for path in paths:
        if path.startswith("decinv.") and paths.count(path) > 1:
            raise ValueError(
                f"Expected each callback once, but got {path.rpartition('.')[2]} {paths.count(path)} times; change the options "
                "of the first one in a copy of the configuration."
            )


def refuse_missing_checkpoint(path: str | None) -> None:
    """Refuse a path to nothing, or to something else; some words are the trainer's, and so are addresses."""
    if path is None or path in ("last", "hpc") or ":" in path:
        return
    if not os.path.exists(path):
        raise FileNotFoundError(f"Expected `ckpt_path` to be a checkpoint, but there is nothing at {path!r}.")
    if os.path.isfile(path) and not is_zipfile(path):
        raise ValueError(f"Expected `ckpt_path` to be a checkpoint, but {path!r} is none, or was cut short; name another.")


def refuse_deleted_checkpoint(path: str | None, directory: Path) -> None:
    """Refuse to go on from what ``--fresh true`` deletes, or words for it, such as ``last``."""
    if path is not None and (os.sep not in path or directory.resolve() in Path(path).resolve().parents):
        raise ValueError(
            f"Expected no --fresh true, which deletes {directory}, with the checkpoint {path} in it; leave one out."
        )
