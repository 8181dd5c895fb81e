"""Generated data: the truth is the truth, and samples do not depend on each other."""

import pytest
import torch
from lightning import Trainer
from safetensors.torch import save_file

from decinv.codecs import LinearCodec
from decinv.data import GeneratedData, generate, procedural_image
from decinv.data.generated import decode_rounded, draw_latent
from decinv.modules import DecoderInversion

CODEC = LinearCodec(scaling_factor=0.3, shift_factor=0.2)


def joined(data):
    batches = list(data.chunks(CODEC))
    names = [name for batch in batches for name in batch.names]
    return names, torch.cat([b.image for b in batches]), torch.cat([b.latent for b in batches]), batches


def test_decoding_the_latent_gives_the_image():
    batch = generate(CODEC, count=5, size=32)
    assert batch.image.shape == (5, 3, 32, 32)
    assert batch.latent.shape == (5, 4, 8, 8)
    assert batch.names == tuple(f"generated-{i:05d}" for i in range(5))
    for image, latent in zip(batch.image, batch.latent, strict=True):
        decoded = CODEC.decode(latent[None])[0].clamp(-1, 1)
        levels = (decoded.double() * 127.5 + 127.5).round()
        assert torch.equal(((image.double() + 1) * 127.5).round(), levels)
        torch.testing.assert_close(image.double(), levels / 127.5 - 1, rtol=0, atol=1e-7)
    assert batch.image.abs().max() <= 1


def test_images_go_through_an_8_bit_file_unchanged(tmp_path):
    from PIL import Image

    from decinv.images import read_image

    image = generate(CODEC, count=1, size=32).image[0]
    pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), image)


def test_without_perturbation_the_latent_is_the_encoders():
    latent = draw_latent(CODEC, 3, size=32, seed=5, perturbation=0.0)
    torch.testing.assert_close(latent, CODEC.encode(procedural_image(3, 32, 5)[None])[0], rtol=0, atol=1e-5)


def test_the_perturbation_has_the_stated_size():
    clean = CODEC.scaling.apply(draw_latent(CODEC, 0, size=256, perturbation=0.0))
    noisy = CODEC.scaling.apply(draw_latent(CODEC, 0, size=256, perturbation=0.3))
    noise = (noisy - clean) / clean.std()
    assert noise.numel() == 4 * 64 * 64
    assert abs(noise.mean()) < 4 * 0.3 / 128  # four standard errors
    assert abs(noise.std() - 0.3) < 4 * 0.3 / (128 * 2**0.5)
    half = CODEC.scaling.apply(draw_latent(CODEC, 0, size=256, perturbation=0.15))
    torch.testing.assert_close(2 * (half - clean), noisy - clean, rtol=0, atol=1e-5)


def test_seeds_and_samples_have_noise_of_their_own():
    def noise(index, seed):
        return draw_latent(CODEC, index, 32, seed, 0.5) - draw_latent(CODEC, index, 32, seed, 0.0)

    draws = torch.stack([noise(0, 1), noise(1, 1), noise(0, 2)]).flatten(1)
    correlation = torch.corrcoef(draws)
    assert (correlation - torch.eye(3)).abs().max() < 5 / 16  # 256 values: five standard errors


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_samples_do_not_depend_on_the_batch_size(batch_size):
    data = GeneratedData(count=8, size=32, batch_size=batch_size)
    names, image, latent, batches = joined(data)
    reference = generate(CODEC, count=8, size=32)
    assert data.total == 8
    assert tuple(names) == reference.names
    assert torch.equal(image, reference.image)
    assert torch.equal(latent, reference.latent)
    assert [len(batch.names) for batch in batches][:-1] == [batch_size] * (len(batches) - 1)


def test_more_samples_begin_with_the_same():
    assert torch.equal(generate(CODEC, 5, 16).latent[:3], generate(CODEC, 3, 16).latent)
    assert not torch.equal(generate(CODEC, 3, 16, seed=1).latent, generate(CODEC, 3, 16, seed=2).latent)


def test_values_beyond_white_are_clamped():
    latent = torch.full((1, 4, 2, 2), 50.0)
    assert CODEC.decode(latent).abs().max() > 2
    assert decode_rounded(CODEC, latent).abs().max() == 1


def test_gradients_stay_off_inside_and_as_they_were_outside():
    chunks = GeneratedData(count=2, size=16, batch_size=1).chunks(CODEC)
    first = next(chunks)
    assert torch.is_grad_enabled()
    assert not first.image.requires_grad
    assert not first.latent.requires_grad


def test_latents_from_files(tmp_path):
    truth = {"a": torch.randn(4, 4, 4), "b": torch.randn(4, 4, 6), "c": torch.randn(2, 4, 4, 4)}
    for name, latent in truth.items():
        save_file({"latent": latent}, tmp_path / f"{name}.safetensors")
    save_file({"latent": torch.zeros(7, 4, 4)}, tmp_path / "wrong.safetensors")
    (tmp_path / "broken.safetensors").touch()
    data = GeneratedData(latents=str(tmp_path), batch_size=2, block=6)
    data.setup("fit")
    assert data.total == 6
    batches = list(data.chunks(CODEC))
    assert [batch.names for batch in batches] == [("a", "c-00000"), ("b",), ("c-00001",)]
    assert torch.equal(batches[0].latent, torch.stack([truth["a"], truth["c"][0]]))
    assert torch.equal(batches[1].latent[0], truth["b"])
    for batch in batches:
        assert torch.equal(batch.image, decode_rounded(CODEC, batch.latent))
    failures = {failure.name: failure.reason for batch in batches for failure in batch.failures}
    assert sorted(failures) == ["broken", "wrong"]
    assert "4 channels" in failures["wrong"]


def test_the_size_of_an_image_of_a_latent_is_that_of_its_cells_whatever_the_networks_patch(tmp_path):
    save_file({"latent": torch.randn(4, 4, 6)}, tmp_path / "a.safetensors")
    codec = LinearCodec(stride=2)
    codec.patch = 2
    data = GeneratedData(latents=str(tmp_path))
    data.setup("fit")
    (batch,) = data.chunks(codec)
    assert data.image_size(data.inputs[0], codec) == batch.image.shape[-2:] == (8, 12)


def test_a_wrong_directory_ends_the_run_before_it_begins(tmp_path):
    with pytest.raises(FileNotFoundError, match="safetensors"):
        GeneratedData(latents=str(tmp_path)).setup("fit")


@pytest.mark.parametrize(
    "option",
    [{"count": -1}, {"size": 7}, {"batch_size": 0}, {"seed": -1}, {"perturbation": -0.1}, {"perturbation": float("nan")}],
)
def test_wrong_options(option):
    (name,) = option
    with pytest.raises(ValueError, match=f"`{name}` to be at least"):
        GeneratedData(**option)
    if name != "batch_size":
        with pytest.raises(ValueError, match=f"`{name}`"):
            generate(CODEC, **option)


def test_a_size_that_the_codec_would_crop():
    with pytest.raises(ValueError, match="multiples of 4"):
        next(GeneratedData(size=30).chunks(CODEC))


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")  # Lightning 2.6 calls what torch 2.13 deprecates
@pytest.mark.filterwarnings("ignore:.*in eval mode.*")  # the codec is frozen on purpose
@pytest.mark.filterwarnings("ignore:You have overridden `transfer_batch_to_device`.*")  # on purpose
def test_a_whole_run_finds_the_truth_up_to_rounding():
    """The latent error is that of 8-bit rounding, Q^T e with e uniform on half a grey level: 1 / (127.5 sqrt 12) a value."""
    errors = {}

    class Recording(DecoderInversion):
        def on_train_epoch_end(self):
            error = (self.result.latent - self.batch.latent).flatten(1)
            errors.update(zip(self.batch.names, error, strict=True))

    codec = LinearCodec()
    data = GeneratedData(count=5, size=32, batch_size=2, perturbation=0.05)
    model = Recording(codec, max_iters=40, rtol=1e-6)
    trainer = Trainer(accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
                      enable_checkpointing=False)  # fmt: skip
    trainer.fit(model, datamodule=data)
    assert sorted(errors) == [f"generated-{i:05d}" for i in range(5)]
    assert trainer.current_epoch == 3
    spread = torch.stack(list(errors.values())).std()
    assert abs(spread * 127.5 * 12**0.5 - 1) < 0.1
