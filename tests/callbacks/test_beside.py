"""Reading and writing go on while the codec works: each waits here for the other, and would wait in vain otherwise."""

import threading

import pytest
import torch
from lightning import Trainer

from decinv.callbacks import ResultWriter
from decinv.codecs import LinearCodec
from decinv.data import IndexedData
from decinv.data.buckets import Sample
from decinv.modules import DecoderInversion
from decinv.runs import Input, RunDirectory

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning 2.6 calls what torch 2.13 deprecates
    pytest.mark.filterwarnings("ignore:.*in eval mode.*"),  # the codec is frozen on purpose
    pytest.mark.filterwarnings("ignore:You have overridden `transfer_batch_to_device`.*"),  # on purpose
]
SECONDS = 20


class Photos(IndexedData):
    def __init__(self):
        super().__init__(batch_size=2, shard="0/1", block=2, workers=2)
        self.third_chunk_read = threading.Event()

    def list_inputs(self):
        return [Input(number, f"{number}") for number in range(8)]

    def load(self, item, codec):
        if item.number == 5:
            self.third_chunk_read.set()
        return Sample(item.name, torch.full((3, 8, 8), item.number / 10), (8, 8))


def test_reading_and_writing_beside_the_codec(tmp_path, monkeypatch):
    data, decoding, written, found = Photos(), threading.Event(), threading.Event(), {}

    class Slow(LinearCodec):
        """At its first decode it waits until the third chunk is read, and in the second chunk until the first is written."""

        def _decode(self, latent):
            if "read" not in found:
                found["read"] = data.third_chunk_read.wait(SECONDS)
            elif module.trainer.current_epoch == 1 and "written" not in found:
                decoding.set()
                found["written"] = written.wait(SECONDS)
            return super()._decode(latent)

    write = ResultWriter._write_files

    def waiting(self, finished):
        """Write the first chunk only when the second is being decoded."""
        if "decoding" not in found:
            found["decoding"] = decoding.wait(SECONDS)
        write(self, finished)
        written.set()

    monkeypatch.setattr(ResultWriter, "_write_files", waiting)
    module = DecoderInversion(Slow(), max_iters=3)
    trainer = Trainer(default_root_dir=tmp_path, accelerator="cpu", max_epochs=-1, logger=False, callbacks=[ResultWriter()],
                      enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert found == {"read": True, "decoding": True, "written": True}
    assert [row.name for row in RunDirectory(tmp_path).rows()] == [f"{number}" for number in range(8)]
