"""The smallest data, and a trainer that keeps what every chunk came to."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from decinv.batch import Batch
from decinv.codecs import Codec
from decinv.data.base import ChunkData
from decinv.modules import Inversion
from decinv.result import Result


class Chunks(ChunkData):
    """Given tensors of images as chunks."""

    def __init__(self, *images: torch.Tensor) -> None:
        super().__init__()
        self.images = images

    @property
    def total(self) -> int:
        return sum(map(len, self.images))

    def chunks(self, codec: Codec) -> Iterator[Batch]:
        for index, image in enumerate(self.images):
            yield Batch(image, tuple(f"{index}-{row}" for row in range(len(image))))


class Record(Callback):
    """Keep the results of all chunks, their reconstructions, and how many steps each took."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.reconstructions: list[torch.Tensor] = []
        self.steps: list[int] = []
        self.dtypes: set[torch.dtype] = set()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps.append(0)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        assert isinstance(pl_module, Inversion)
        self.steps[-1] += 1
        rule = pl_module.solver.rule
        tensors = [pl_module.latent, *(value for value in vars(rule).values() if isinstance(value, torch.Tensor))]
        tensors += [value for state in rule.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
        self.dtypes |= {tensor.dtype for tensor in tensors if tensor.is_floating_point()}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Inversion)
        self.results.append(pl_module.result)
        self.reconstructions.append(pl_module.reconstruction)


@pytest.fixture
def fit() -> Callable[..., tuple[Record, Trainer]]:
    """Run an inversion on chunks of images; give what was recorded, and the trainer."""

    def run(module: Inversion, images: Sequence[torch.Tensor], **options: Any) -> tuple[Record, Trainer]:
        record = Record()
        defaults: dict[str, Any] = {
            "accelerator": "cpu",
            "max_epochs": -1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        callbacks = [record, *options.pop("callbacks", [])]
        trainer = Trainer(**(defaults | options), callbacks=callbacks)
        trainer.fit(module, Chunks(*images))
        return record, trainer

    return run
