import io
import warnings
from collections.abc import Iterator

import pytest
import rich
import torch
from lightning import Trainer
from rich.console import Console

from decinv.batch import Batch
from decinv.codecs.base import Codec
from decinv.codecs.linear import LinearCodec
from decinv.data.base import ChunkData
from decinv.modules import DecoderInversion
from decinv.updates import ForwardStep


class ListedData(ChunkData):
    """Chunks that are given."""

    def __init__(self, batches: list[Batch]) -> None:
        super().__init__()
        self.batches = batches

    def chunks(self, codec: Codec) -> Iterator[Batch]:
        return iter(self.batches)

    @property
    def total(self) -> int:
        return sum(len(batch.names) + len(batch.failures) for batch in self.batches)


@pytest.fixture
def codec():
    return LinearCodec(scaling_factor=0.5, shift_factor=0.25)


@pytest.fixture
def make_batch(codec):
    def make(names, seed=0, known=True, side=16, **options):
        generator = torch.Generator().manual_seed(seed)
        latent = torch.randn(len(names), 4, side // 4, side // 4, generator=generator) * 0.2
        return Batch(codec.decode(latent), tuple(names), latent if known else None, **options)

    return make


@pytest.fixture
def fit(codec, tmp_path, monkeypatch):
    """Invert batches with the forward step, whose course is known, under some callbacks; gives module, trainer and output."""

    def run(callbacks, batches, max_iters=6, rtol=0.0, lr=1.0, logger=False, terminal=False, width=120, module=None):
        output = io.StringIO()
        console = Console(file=output, force_terminal=terminal, width=width)
        monkeypatch.setattr(rich, "_console", console)
        if module is None:
            module = DecoderInversion(codec, lambda params: ForwardStep(params, lr=lr), max_iters, rtol, patience=None)
        bars = any(hasattr(callback, "disable") for callback in callbacks)
        trainer = Trainer(
            default_root_dir=tmp_path / "run",
            accelerator="cpu",
            max_epochs=-1,
            callbacks=callbacks,
            logger=logger,
            log_every_n_steps=1,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=bars,
            use_distributed_sampler=False,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")  # Lightning 2.6 with torch 2.13
            warnings.filterwarnings("ignore", message=r".*Found \d+ module\(s\) in eval mode")  # the codec is
            warnings.filterwarnings("ignore", message=r"You have overridden `transfer_batch_to_device`")  # on purpose
            trainer.fit(module, datamodule=ListedData(batches))
        return module, trainer, output

    return run
