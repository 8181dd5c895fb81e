"""Out of memory: a chunk is halved and goes on, and only a sample that does not fit, or is refused, alone is lost."""

import pytest
import torch
from lightning import Trainer

from decinv.batch import Batch, Failure
from decinv.codecs import LinearCodec
from decinv.data import ChunkData
from decinv.memory import is_out_of_memory
from decinv.modules import DecoderInversion, GradientInversion
from decinv.status import Status

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning 2.6 calls what torch 2.13 deprecates
    pytest.mark.filterwarnings("ignore:.*in eval mode.*"),  # the codec is frozen on purpose
    pytest.mark.filterwarnings("ignore:You have overridden `transfer_batch_to_device`.*"),  # on purpose
]

ERRORS = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    "python": MemoryError(),
}


class SmallMachine(LinearCodec):
    """A codec that cannot decode, or encode, more than some pixels at once."""

    def __init__(self, decoded=10**9, encoded=10**9, error=ERRORS["cuda"]):
        super().__init__()
        self.decoded, self.encoded, self.error = decoded, encoded, error

    def _encode(self, image):
        if image.numel() > self.encoded:
            raise self.error
        return super()._encode(image)

    def _decode(self, latent):
        if latent.numel() * self.stride**2 * 3 // self.latent_channels > self.decoded:
            raise self.error
        return super()._decode(latent)


class Chunks(ChunkData):
    def __init__(self, shapes):
        super().__init__()
        self.shapes = shapes

    @property
    def total(self):
        return sum(count for count, _ in self.shapes)

    def chunks(self, codec):
        first = 0
        for count, side in self.shapes:
            image = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(first)) * 2 - 1
            numbers = tuple(range(first, first + count))
            yield Batch(image, tuple(f"{n}" for n in numbers), failures=(Failure(f"bad {first}", "Gone."),), numbers=numbers)
            first += count


def invert(codec, shapes, kind=DecoderInversion, **options):
    """Give the outcome of each sample, the sizes of the chunks that were finished, and the failures."""
    outcomes, sizes, failures = {}, [], []

    class Recording(kind):
        def on_train_epoch_end(self):
            if self.batch is None:
                return
            result = self.result
            sizes.append(len(self.batch.names))
            failures.extend(self.batch.failures)
            for index, number in enumerate(self.batch.numbers):
                assert number not in outcomes
                outcomes[number] = (result.latent[index], result.status[index])

    model = Recording(codec, **options)
    trainer = Trainer(accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
                      enable_checkpointing=False)  # fmt: skip
    trainer.fit(model, datamodule=Chunks(shapes))
    return outcomes, sizes, failures


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("limits", [{"decoded": 3 * 64 * 3}, {"encoded": 3 * 64 * 3}], ids=["in a step", "at the start"])
def test_halves_until_it_fits_and_keeps_to_that(error, limits):
    shapes = [(8, 8), (8, 8), (1, 8)]
    whole, _, _ = invert(LinearCodec(), shapes, max_iters=30)
    with pytest.warns(UserWarning, match="8 images of 8 x 8 do not fit into memory together") as caught:
        outcomes, sizes, failures = invert(SmallMachine(**limits, error=error), shapes, max_iters=30)
    assert len([w for w in caught if "do not fit" in str(w.message)]) == 1
    assert sizes == [2, 2, 2, 2, 2, 2, 2, 2, 1]
    assert [failure.name for failure in failures] == ["bad 0", "bad 8", "bad 16"]
    assert sorted(outcomes) == list(range(17))
    for number, (latent, status) in outcomes.items():
        assert status is whole[number][1]
        torch.testing.assert_close(latent, whole[number][0], rtol=0, atol=1e-4)


def test_a_sample_that_does_not_fit_alone_is_lost_alone():
    outcomes, sizes, failures = invert(SmallMachine(decoded=3 * 64), [(1, 8), (1, 16), (1, 8)], max_iters=30)
    assert sizes == [1, 0, 1]
    assert sorted(outcomes) == [0, 2]
    lost = [failure for failure in failures if failure.status is Status.FAILED]
    assert [(failure.name, failure.number) for failure in lost] == [("1", 1)]
    assert lost[0].reason.startswith("One image of 16 x 16 does not fit into memory; set")


@pytest.mark.filterwarnings("ignore:.*do not fit into memory together.*")
def test_the_gradient_baseline_too():
    outcomes, sizes, _ = invert(
        SmallMachine(decoded=3 * 64 * 2), [(4, 8)], GradientInversion, update=lambda p: torch.optim.Adam(p, 0.1), max_iters=3
    )
    assert sizes == [2, 2]
    assert sorted(outcomes) == [0, 1, 2, 3]


def test_other_errors_end_the_run():
    with pytest.raises(RuntimeError, match="a bug"):
        invert(SmallMachine(decoded=1, error=RuntimeError("a bug")), [(2, 8)])
    assert not is_out_of_memory(ValueError("out of memory"))


class Choosy(LinearCodec):
    """Refuses one size, and white images."""

    def _encode(self, image):
        if image.shape[-1] == 16:
            raise ValueError("Expected another size.")
        if (image.flatten(1) > 0.999).all(1).any():
            raise RuntimeError("too white")
        return super()._encode(image)


class White(Chunks):
    """The second sample is white, and has a true latent as all others have."""

    def chunks(self, codec):
        for batch in super().chunks(codec):
            if len(batch.names) > 1:
                batch.image[1] = 1.0
            yield batch._replace(latent=torch.zeros(len(batch.names), 4, 2, 2))


def test_a_sample_that_the_codec_refuses_is_lost_alone(monkeypatch):
    monkeypatch.setitem(globals(), "Chunks", White)
    whole, _, _ = invert(LinearCodec(), [(4, 8)])
    outcomes, sizes, failures = invert(Choosy(), [(4, 8), (2, 16), (3, 8)])
    assert sizes == [3, 0, 2]
    assert sorted(outcomes) == [0, 2, 3, 6, 8]
    lost = {failure.number: failure for failure in failures if failure.status is Status.FAILED}
    assert {number: failure.name for number, failure in lost.items()} == {1: "1", 4: "4", 5: "5", 7: "7"}
    assert lost[1].reason == "The codec cannot encode it: too white."
    assert lost[4].reason == "The codec cannot encode it: Expected another size."
    assert [failure.name for failure in failures if failure.number is None] == ["bad 0", "bad 4", "bad 6"]
    for number in (0, 2, 3):
        assert torch.equal(outcomes[number][0], whole[number][0])


class Narrow(LinearCodec):
    """Encodes all images, but decodes none of one size."""

    def _decode(self, latent):
        if latent.shape[-1] * self.stride == 16:
            raise RuntimeError("Padding size should be less than the input")
        return super()._decode(latent)


@pytest.mark.parametrize("kind", [DecoderInversion, GradientInversion])
def test_a_sample_that_the_codec_encodes_but_does_not_decode_is_lost_alone(kind):
    options = {"update": lambda p: torch.optim.SGD(p, 0.01)} if kind is GradientInversion else {}
    shapes = [(2, 8), (2, 16), (3, 8)]
    whole, _, _ = invert(LinearCodec(), shapes, kind, **options)
    outcomes, sizes, failures = invert(Narrow(), shapes, kind, **options)
    assert sizes == [2, 0, 3]
    assert sorted(outcomes) == [0, 1, 4, 5, 6]
    lost = {failure.number: failure for failure in failures if failure.status is Status.FAILED}
    assert sorted(lost) == [2, 3]
    assert lost[2].reason == "The codec cannot decode it: Padding size should be less than the input."
    for number, (latent, status) in outcomes.items():
        assert status is whole[number][1]
        assert torch.equal(latent, whole[number][0])


def test_a_codec_that_decodes_nothing_of_the_first_chunk_ends_the_run():
    with pytest.raises(RuntimeError, match="Padding size"):
        invert(Narrow(), [(2, 16), (2, 8)])


def test_a_codec_that_refuses_the_first_chunk_altogether_ends_the_run():
    with pytest.raises(ValueError, match="Expected another size"):
        invert(Choosy(), [(2, 16), (2, 8)])
