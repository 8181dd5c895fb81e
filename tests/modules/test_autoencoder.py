import json

import numpy as np
import pytest
import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from safetensors.torch import load_file
from torch.utils.data import DataLoader, TensorDataset

from decinv.codecs import AutoencoderCodec
from decinv.data import ProceduralImages, procedural_batch
from decinv.modules.autoencoder import AutoencoderTraining, amplify_chroma, correlation

BT601 = torch.tensor([0.299, 0.587, 0.114])


class Few(LightningDataModule):
    """Six images in batches of two, and three others held out."""

    def train_dataloader(self):
        return DataLoader(procedural_batch(6, 32, seed=1), 2)

    def val_dataloader(self):
        return DataLoader(TensorDataset(procedural_batch(3, 32)), 2)


def tiny(**options):
    torch.manual_seed(0)
    return AutoencoderTraining(block_out_channels=(8, 8), norm_num_groups=4, latent_channels=3, warmup_steps=1, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two steps of training; the module, and the directory of the run."""
    directory = tmp_path_factory.mktemp("run")
    with torch.random.fork_rng():
        module = tiny()
        Trainer(
            max_steps=2,
            accelerator="cpu",
            default_root_dir=directory,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        ).fit(module, datamodule=Few())
    return module.eval(), directory


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")  # Lightning; the data are in memory
@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")  # Lightning 2.6 with torch 2.13
class TestTraining:
    def test_two_steps_change_the_weights(self, trained):
        before, (module, _) = tiny().autoencoder.state_dict(), trained
        assert module.global_step == 2
        changed = [not torch.equal(value, before[name]) for name, value in module.autoencoder.state_dict().items()]
        assert all(changed)

    def test_the_codec_is_saved_with_the_scaling_of_unit_deviation(self, trained):
        module, directory = trained
        assert sorted(path.name for path in (directory / "codec").iterdir()) == [
            "config.json",
            "diffusion_pytorch_model.safetensors",
        ]
        assert len(load_file(directory / "codec" / "diffusion_pytorch_model.safetensors")) == len(
            module.autoencoder.state_dict()
        )
        codec = AutoencoderCodec(str(directory / "codec"))
        latent = codec.encode(procedural_batch(3, 32))
        assert codec.scaling.factor == pytest.approx(1 / latent.std().item(), abs=1e-5, rel=1e-5)
        assert codec.scaling.shift == 0
        assert json.loads((directory / "codec" / "config.json").read_text())["scaling_factor"] == codec.scaling.factor
        assert codec.scaling.apply(latent).std().item() == pytest.approx(1, abs=1e-3)

    def test_the_chroma_gain_is_in_the_weights(self, trained):
        module, directory = trained
        codec = AutoencoderCodec(str(directory / "codec"))
        image = procedural_batch(2, 32, seed=5)
        with torch.no_grad():
            latent = module.autoencoder.encode(amplify_chroma(image, module.chroma_gain)).latent_dist.mode()
            decoded = amplify_chroma(module.autoencoder.decode(latent).sample, 1 / module.chroma_gain)
            unfolded = module.autoencoder.encode(image).latent_dist.mode()
        torch.testing.assert_close(codec.encode(image), latent, rtol=0, atol=1e-4)
        torch.testing.assert_close(codec.decode(latent), decoded, rtol=0, atol=1e-4)
        torch.testing.assert_close(codec.decode(codec.encode(image)), decoded, rtol=0, atol=1e-4)
        assert (unfolded - latent).abs().max() > 1e-2


@pytest.mark.parametrize("gain", [3.5, 0.2])
def test_amplified_chroma_comes_back_and_leaves_the_luminance(images, gain):
    image = images(2)
    louder = amplify_chroma(image, gain)
    torch.testing.assert_close(amplify_chroma(louder, 1 / gain), image, rtol=0, atol=1e-5)
    luminance = torch.einsum("bchw,c->bhw", image, BT601)
    torch.testing.assert_close(torch.einsum("bchw,c->bhw", louder, BT601), luminance, rtol=0, atol=1e-5)
    torch.testing.assert_close(louder - luminance[:, None], gain * (image - luminance[:, None]), rtol=0, atol=1e-5)


def test_white_latents_have_no_correlation():
    rows = np.random.default_rng(0).normal(size=(3, 2 * 4 * 5))
    rows -= rows.mean(1, keepdims=True)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(rows)), rows)
    latent = torch.from_numpy(white).float().view(3, 2, 4, 5).transpose(0, 1)
    assert correlation(latent).item() == pytest.approx(0, abs=1e-10)


def test_correlation_is_that_of_numpy():
    latent = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(0)) * 1.7 + 0.4
    rows = latent.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(4, -1)
    expected = np.sum((np.cov(rows) - np.eye(4)) ** 2) + np.sum(rows.mean(1) ** 2)
    assert correlation(latent).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [{"decay_fraction": 0.0}, {"decay_fraction": 1.5}])
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        tiny(**options)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("accumulated", [1, 3])
def test_a_training_that_was_continued_equals_one_that_never_stopped(tmp_path, accumulated):
    def train(**options):
        saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
        quiet |= {"accumulate_grad_batches": accumulated}
        module = tiny()
        trainer = Trainer(max_steps=4, accelerator="cpu", default_root_dir=tmp_path, callbacks=[saving], **quiet)
        trainer.fit(module, datamodule=ProceduralImages(size=16, batch_size=2, num_workers=0, validation_count=2), **options)
        return module.state_dict()

    whole = train()
    continued = train(ckpt_path=str(tmp_path / "step=2.ckpt"))
    assert all(torch.equal(continued[name], whole[name]) for name in whole)


def test_batches_of_one_step_have_draws_of_their_own(tmp_path):
    drawn = []

    class Drawing(Callback):
        def on_train_batch_end(self, *_):
            drawn.append(torch.rand(1).item())

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    options = {"max_steps": 2, "accumulate_grad_batches": 2, "callbacks": [Drawing()], "default_root_dir": tmp_path}
    trainer = Trainer(accelerator="cpu", **options, **quiet)
    trainer.fit(tiny(), datamodule=ProceduralImages(size=16, batch_size=2, num_workers=0, validation_count=2))
    assert len(set(drawn)) == 4
