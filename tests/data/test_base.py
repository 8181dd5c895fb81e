"""Chunks as epochs: nothing is taken too early, nothing is lost, and the trainer ends when the chunks do."""

import pytest
import torch
from lightning import LightningModule, Trainer

from decinv.batch import Batch
from decinv.codecs import LinearCodec
from decinv.data import ChunkData, ChunkLoader
from decinv.modules import DecoderInversion

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning 2.6 calls what torch 2.13 deprecates
    pytest.mark.filterwarnings("ignore:.*in eval mode.*"),  # the codec is frozen on purpose
    pytest.mark.filterwarnings("ignore:You have overridden `transfer_batch_to_device`.*"),  # on purpose
]


def chunk(index, count=2):
    image = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(index)) * 2 - 1
    return Batch(image, tuple(f"{index}/{i}" for i in range(count)))


class Counted(ChunkData):
    """``count`` chunks, and a note of each that was taken."""

    def __init__(self, count):
        super().__init__()
        self.count = count
        self.taken = []

    @property
    def total(self):
        return 2 * self.count

    def chunks(self, codec):
        for index in range(self.count):
            self.taken.append(index)
            yield chunk(index)


class Recording(DecoderInversion):
    """Note which chunk was inverted in which epoch, and how."""

    def __init__(self, **options):
        super().__init__(LinearCodec(), **options)
        self.seen = []

    def on_train_epoch_end(self):
        self.seen.append((self.batch.names, self.solver.iteration, self.result))


def trainer():
    return Trainer(accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
                   enable_checkpointing=False)  # fmt: skip


def loader(count, repeats=3):
    taken, ended = [], []

    def chunks():
        for index in range(count):
            taken.append(index)
            yield chunk(index)

    return ChunkLoader(chunks(), repeats, lambda last: last and ended.append(len(taken))), taken, ended


def test_iter_alone_takes_no_chunk():
    chunks, taken, ended = loader(3)
    for _ in range(5):
        iter(chunks)
    assert taken == [0]
    first = next(iter(chunks))
    assert first.names == chunk(0).names
    assert taken == [0, 1]
    assert ended == []


def test_each_epoch_repeats_one_chunk_object():
    chunks, _, ended = loader(2, repeats=4)
    assert len(chunks) == 4
    first, second, third = list(chunks), list(chunks), list(chunks)
    assert len(first) == len(second) == 4
    assert all(batch is first[0] for batch in first)  # so that it moves to the device once
    assert (first[0].names, second[0].names) == (chunk(0).names, chunk(1).names)
    assert third == []
    assert ended == [2]


def test_an_epoch_left_early_loses_no_chunk():
    chunks, _, _ = loader(3, repeats=9)
    assert [next(iter(chunks)).names for _ in range(3)] == [chunk(i).names for i in range(3)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_one_epoch_for_each_chunk(count):
    data, model, run = Counted(count), Recording(max_iters=20), trainer()
    run.fit(model, datamodule=data)
    assert data.taken == list(range(count))
    assert [names for names, _, _ in model.seen] == [chunk(i).names for i in range(count)]
    assert run.current_epoch == count
    # One step of the optimizer for each iteration, but for the last of a chunk, which finds nothing left to update.
    assert run.global_step == sum(iterations for _, iterations, _ in model.seen) - count


def test_no_chunks_no_epochs():
    data, model, run = Counted(0), Recording(), trainer()
    run.fit(model, datamodule=data)
    assert run.current_epoch == 0
    assert run.global_step == 0
    assert model.seen == []
    assert run.state.finished


def test_chunks_are_inverted():
    data, model = Counted(2), Recording(max_iters=30, rtol=1e-6)
    trainer().fit(model, datamodule=data)
    for index, (_, _, result) in enumerate(model.seen):
        truth = model.codec.fixed_point(chunk(index).image)
        torch.testing.assert_close(result.latent, truth, rtol=0, atol=1e-4)


def test_at_most_one_chunk_is_read_ahead():
    data = Counted(4)
    ahead = []

    class Watching(Recording):
        def on_train_epoch_end(self):
            super().on_train_epoch_end()
            ahead.append(len(data.taken) - len(self.seen))

    trainer().fit(Watching(max_iters=5), datamodule=data)
    assert ahead == [1, 1, 1, 0]


def test_other_models_are_refused():
    class Other(LightningModule):
        def training_step(self, batch, batch_idx):
            raise AssertionError

        def configure_optimizers(self):
            return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)

    with pytest.raises(TypeError, match="Expected Counted to feed an inversion, but got Other"):
        trainer().fit(Other(), datamodule=Counted(1))
    with pytest.raises(TypeError, match="NoneType"):
        Counted(1).train_dataloader()


def test_what_is_no_chunk_is_refused_before_anything_is_inverted():
    class Pixels(Counted):
        def chunks(self, codec):
            yield chunk(0)._replace(image=torch.full((2, 3, 8, 8), 128.0))

    model = Recording(max_iters=3)
    with pytest.raises(ValueError, match=r"Expected pixels in \[-1, 1\], but got \[128, 128\]"):
        trainer().fit(model, datamodule=Pixels(1))
    with pytest.raises(TypeError, match=r"chunks of images, as a `decinv\.data\.ChunkData` gives them, but got list"):
        trainer().fit(model, [torch.zeros(2, 3, 8, 8)])
    assert model.seen == []
