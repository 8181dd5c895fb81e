"""Images from files to chunks, and through a whole run."""

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image

from decinv.codecs import LinearCodec
from decinv.data import ImageData
from decinv.images import pad_to_multiple, read_image
from decinv.modules import DecoderInversion


@pytest.fixture
def folder(tmp_path):
    """Twelve images of four sizes, of which two become one size when padded, and six broken files among them."""
    rng = np.random.default_rng(0)
    sizes = [(16, 12), (13, 12), (16, 16), (9, 10)]
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (*sizes[i % 4], 3), dtype=np.uint8)).save(tmp_path / f"image{i:02d}.png")
    return tmp_path


def spoil(folder):
    whole = (folder / "image00.png").read_bytes()
    (folder / "a_empty.png").touch()
    (folder / "image03_text.jpg").write_text("no image")
    (folder / "image03_truncated.png").write_bytes(whole[:200])
    (folder / "image07_gone.png").symlink_to(folder / "nowhere.png")
    Image.new("RGB", (60, 60)).save(folder / "image08_large.png")
    (folder / "z_noise.webp").write_bytes(b"RIFF\x00\x00\x00\x00WEBP")
    return ["a_empty.png", "image03_text.jpg", "image03_truncated.png", "image07_gone.png", "image08_large.png", "z_noise.webp"]


def fit(data, **options):
    """Run an inversion; give each sample's row of its chunk's outcome."""
    outcomes = {}

    class Recording(DecoderInversion):
        def on_train_epoch_end(self):
            result = self.result
            for i, name in enumerate(self.batch.names):
                outcomes[name] = (result.latent[i], result.status[i], self.batch.size(i))

    model = Recording(LinearCodec(), max_iters=40, rtol=1e-6)
    trainer = Trainer(accelerator="cpu", max_epochs=-1, logger=False, enable_progress_bar=False, enable_model_summary=False,
                      enable_checkpointing=False, **options)  # fmt: skip
    trainer.fit(model, datamodule=data)
    return outcomes, trainer


def test_padded_chunks(folder):
    codec = LinearCodec()
    data = ImageData(str(folder), batch_size=4, block=12)
    batches = list(data.chunks(codec))
    assert data.total == 12
    assert [tuple(batch.image.shape) for batch in batches] == [(4, 3, 16, 12), (3, 3, 16, 16), (3, 3, 12, 12), (2, 3, 16, 12)]
    assert batches[0].names == ("image00.png", "image01.png", "image04.png", "image05.png")
    assert batches[0].sizes == ((16, 12), (13, 12), (16, 12), (13, 12))
    for batch in batches:
        for i, name in enumerate(batch.names):
            image = read_image(folder / name)
            height, width = batch.size(i)
            assert torch.equal(batch.image[i], pad_to_multiple(image, 4))
            assert torch.equal(batch.image[i, :, :height, :width], image)


def test_cropped_chunks(folder):
    codec = LinearCodec(stride=10)
    batch, rest = ImageData(str(folder), batch_size=9, crop=True, block=12).chunks(codec)
    assert batch.image.shape == (9, 3, 10, 10)
    assert set(batch.sizes) == {(10, 10)}
    assert torch.equal(batch.image[1], read_image(folder / "image01.png")[:, :10, :10])
    assert [failure.name for failure in batch.failures] == ["image03.png", "image07.png"]
    assert "9 x 10" in batch.failures[0].reason
    assert rest.image.shape == (0, 3, 10, 10)
    assert [failure.name for failure in rest.failures] == ["image11.png"]


def test_limit(folder):
    data = ImageData(str(folder), limit=5)
    data.setup("fit")
    assert data.total == 5
    assert sum(len(batch.names) for batch in data.chunks(LinearCodec())) == 5


def test_unreadable_files_cost_nobody_anything(folder):
    options = {"batch_size": 4, "max_pixels": 1000, "block": 18}
    before = list(ImageData(str(folder), **options).chunks(LinearCodec()))
    broken = spoil(folder)
    data = ImageData(str(folder), **options)
    after = list(data.chunks(LinearCodec()))
    assert data.total == 18
    assert sorted(failure.name for batch in after for failure in batch.failures) == broken
    assert all("\n" not in failure.reason for batch in after for failure in batch.failures)
    for old, new in zip(before, after, strict=True):
        assert old.names == new.names
        assert old.sizes == new.sizes
        assert torch.equal(old.image, new.image)


def test_a_missing_file_of_a_manifest_is_a_failure(folder):
    (folder / "list.txt").write_text("image00.png\nnever.png\n")
    (batch,) = ImageData(str(folder / "list.txt")).chunks(LinearCodec())
    assert batch.names == ("image00.png",)
    assert batch.failures[0].name == "never.png"
    assert "no such file" in batch.failures[0].reason


def test_wrong_options_and_roots(tmp_path):
    for option in ("batch_size", "block", "limit", "max_pixels"):
        with pytest.raises(ValueError, match=f"`{option}` to be at least 1, but got 0"):
            ImageData("samples", **{option: 0})
    with pytest.raises(FileNotFoundError, match="nothing"):
        ImageData(str(tmp_path / "nothing")).setup("fit")


def test_shipped_samples_make_two_chunks():
    batches = list(ImageData("samples").chunks(LinearCodec()))
    assert [tuple(batch.image.shape) for batch in batches] == [(3, 3, 128, 128), (3, 3, 192, 192)]


ABOUT_LIGHTNING = [
    "ignore:.*isinstance.treespec, LeafSpec.*",  # Lightning 2.6 calls what torch 2.13 deprecates
    "ignore:.*in eval mode.*",  # the codec is frozen on purpose
    "ignore:You have overridden `transfer_batch_to_device`.*",  # the module moves a chunk once, on purpose
]


def run_test(function):
    """Let pass what Lightning warns of in every run."""
    for warning in ABOUT_LIGHTNING:
        function = pytest.mark.filterwarnings(warning)(function)
    return function


@run_test
def test_a_whole_run_inverts_every_readable_image_once(folder):
    codec = LinearCodec()
    spoil(folder)
    outcomes, trainer = fit(ImageData(str(folder), batch_size=4, max_pixels=1000))
    assert sorted(outcomes) == [f"image{i:02d}.png" for i in range(12)]
    assert trainer.current_epoch >= 4
    for name, (latent, status, size) in outcomes.items():
        image = read_image(folder / name)
        assert size == tuple(image.shape[1:])
        assert status.ok
        truth = codec.fixed_point(pad_to_multiple(image, 4)[None])[0]
        torch.testing.assert_close(latent, truth, rtol=0, atol=1e-3)


@run_test
def test_results_do_not_depend_on_the_batch_size(folder):
    one, _ = fit(ImageData(str(folder), batch_size=1))
    many, _ = fit(ImageData(str(folder), batch_size=5))
    assert sorted(one) == sorted(many)
    for name in one:
        torch.testing.assert_close(one[name][0], many[name][0], rtol=0, atol=1e-3)


@run_test
def test_a_run_over_nothing_but_broken_files_ends(tmp_path):
    (tmp_path / "a.png").touch()
    outcomes, trainer = fit(ImageData(str(tmp_path)))
    assert outcomes == {}
    assert trainer.global_step == 0
    assert trainer.current_epoch == 1
