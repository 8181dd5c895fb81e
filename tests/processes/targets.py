"""What some tests run in another process instead of ``main``."""

import errno
import json
import os
import time
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback

from decinv.cli import DecinvCLI, main, run
from decinv.codecs import LinearCodec
from decinv.data import GeneratedData
from decinv.modules import DecoderInversion
from decinv.runs import claim, directory
from decinv.strategies.local import LAUNCHER


def describe(args: list[str]) -> int:
    """Run the command line, and print what its process was."""
    trainer = run(args).trainer
    environment = trainer.strategy.cluster_environment
    described = {
        "rank": trainer.global_rank,
        "world": trainer.world_size,
        "zero": trainer.is_global_zero,
        "device": str(trainer.strategy.root_device),
        "launcher": trainer.strategy.launcher is not None,
        "requeue": getattr(environment, "auto_requeue", False),
        "distributed": torch.distributed.is_initialized(),
        "wrapped": not isinstance(trainer.strategy.model, LightningModule),
        "threads": torch.get_num_threads(),
        "steps": trainer.global_step,
    }
    print(json.dumps(described))
    return 0


def trainer_with_ddp(args: list[str]) -> int:
    """Fit under the stock strategy, from Python; print what is raised."""
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False, callbacks=[])
    try:
        trainer.fit(DecoderInversion(LinearCodec()), datamodule=GeneratedData(4))
    except ValueError as error:
        print(torch.distributed.is_initialized(), error)
        return 2
    return 0


def slow_to_end(args: list[str]) -> int:
    """Run the command line, where a callback takes a minute to put its things away."""
    instantiate = DecinvCLI.instantiate_trainer

    def with_slow_callback(self: DecinvCLI, **options: object) -> Trainer:
        trainer = instantiate(self, **options)

        def on_exception(*details: object) -> None:
            Path("ending").touch()
            time.sleep(60)

        trainer.callbacks.append(LambdaCallback(on_exception=on_exception))
        return trainer

    DecinvCLI.instantiate_trainer = with_slow_callback
    return main(args)


def interrupted_early(args: list[str]) -> int:
    """Run the command line, which is asked to end while it makes its objects."""
    import signal

    DecinvCLI.instantiate_trainer = lambda self, **options: os.kill(os.getpid(), signal.SIGTERM)
    return main(args)


def on_a_full_disk(args: list[str]) -> int:
    """Run the command line, whose rows cannot be written."""

    def refuse(*details: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    directory.append_rows = refuse
    return main(args)


def started_by_another(args: list[str]) -> int:
    """Run the command line as the first process of a machine starts it."""
    os.environ[LAUNCHER] = str(os.getppid())
    return main(args)


def impatient(args: list[str]) -> int:
    """Run the command line without waiting for another process to end."""
    claim.PATIENCE = 0.0
    return main(args)
