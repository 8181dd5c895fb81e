import pytest
import torch

from decinv.codecs import load_codec
from decinv.data import CaptionedLatents, captioned_scene, encode_scenes

TINY = {"size": 32, "count": 5, "batch_size": 3, "large_size": 64, "large_count": 2, "large_batch_size": 2, "large_every": 3}


@pytest.fixture
def data(saved):
    module = CaptionedLatents(codec=str(saved("kl")), **TINY, validation_count=4)
    module.setup("fit")
    return module


def test_scenes_are_encoded_in_the_diffusion_models_scale(saved):
    codec = load_codec(saved("kl"))
    latents, captions = encode_scenes(codec, 3, 32, seed=4, first=2)
    for row, caption, index in zip(latents, captions, (2, 3, 4), strict=True):
        image, text = captioned_scene(index, 32, 4)
        assert caption == text
        torch.testing.assert_close(row, codec.encode(image[None])[0] * codec.scaling.factor, rtol=0, atol=1e-6)


def test_every_third_batch_is_large(data):
    batches = iter(data.train_dataloader())
    drawn = [next(batches) for _ in range(6)]
    assert [tuple(latent.shape) for latent, _ in drawn] == [(3, 4, 4, 4), (3, 4, 4, 4), (2, 4, 8, 8)] * 2
    captions = {index: captioned_scene(index, 32, data.seed)[1] for index in range(7)}
    for number, (latents, texts) in enumerate(drawn):
        known, first = (data.large[0], 5) if number % 3 == 2 else (data.small[0], 0)
        for row, text in zip(latents, texts, strict=True):
            index = next(i for i in range(len(known)) if torch.equal(known[i], row))
            assert captions[first + index] == text


def test_batches_are_seeded_and_go_on_after_a_restart(data):
    one, two = iter(data.train_dataloader()), iter(data.train_dataloader())
    first = [next(one) for _ in range(4)]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, two, strict=False))

    class Resumed:
        global_rank, global_step, accumulate_grad_batches = 0, 3, 1

    data.trainer = Resumed()
    assert torch.equal(next(iter(data.train_dataloader()))[0], first[3][0])
    data.trainer.global_step, data.trainer.accumulate_grad_batches = 1, 2
    assert torch.equal(next(iter(data.train_dataloader()))[0], first[2][0])


def test_validation_is_other_scenes_in_order(data):
    batches = list(data.val_dataloader())
    assert [len(latents) for latents, _ in batches] == [3, 1]
    assert [text for _, texts in batches for text in texts] == [captioned_scene(i, 32, 0)[1] for i in range(4)]


def test_the_cache_saves_encoding(saved, tmp_path, monkeypatch):
    options = {"codec": str(saved("kl")), **TINY, "validation_count": 1, "cache": str(tmp_path / "cache")}
    first = CaptionedLatents(**options)
    first.setup("fit")
    monkeypatch.setattr(CaptionedLatents, "make", None)
    again = CaptionedLatents(**options)
    again.setup("fit")
    for name in ("small", "large", "validation"):
        (latents, captions), (same, texts) = getattr(first, name), getattr(again, name)
        assert torch.equal(latents, same)
        assert captions == texts


def test_a_cache_of_another_codec_is_refused(saved, tmp_path):
    options = TINY | {"validation_count": 1, "cache": str(tmp_path / "cache")}
    CaptionedLatents(codec=str(saved("kl")), **options).setup("fit")
    with pytest.raises(
        ValueError, match=r"Expected latents by codec 'bundled' in the cache, but those in .* are by codec '.*kl"
    ):
        CaptionedLatents(codec="bundled", **options).setup("fit")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"seed": 0}, "both are 0"),
        ({"large_every": -1}, "got -1"),
        ({"count": 0}, "Expected `count`"),
        ({"large_count": -3}, "Expected `large_count`"),
        ({"large_batch_size": 0}, "Expected `large_batch_size`"),
        ({"validation_count": 0}, "Expected `validation_count`"),
    ],
)
def test_wrong_numbers(options, text):
    with pytest.raises(ValueError, match=text):
        CaptionedLatents(**options)
