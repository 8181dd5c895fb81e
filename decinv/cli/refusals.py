"""What options are refused for before a run begins, where the parser takes them."""

import os
from pathlib import Path
from typing import Any
from zipfile import is_zipfile


def refuse_parts(trainer: Any) -> None:
    """Refuse limits in epochs and batches, which are chunks and iterations here and follow from the images.

    Raises:
        ValueError: If there is one.
    """
    limits = {"max_epochs": -1, "limit_train_batches": None, "overfit_batches": 0, "fast_dev_run": False}
    for option, free in limits.items():
        if trainer[option] not in (free, None):
            raise ValueError(
                f"Expected no `trainer.{option}`, since an epoch is a chunk of images and a batch an iteration, but got "
                f"{trainer[option]}; set `data.limit` for fewer images, `model.max_iters` for fewer iterations, or "
                "`trainer.max_time` to stop early."
            )


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
