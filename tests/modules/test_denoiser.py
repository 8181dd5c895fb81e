import json

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from decinv.codecs.loading import BUNDLED
from decinv.modules import DenoiserTraining

CAPTIONS = ["a red circle on a plain blue background", "a black ring on a striped white background"]
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Two(LightningDataModule):
    """One batch of two latents, to train on twice and to validate on once."""

    def __init__(self):
        super().__init__()
        self.batch = (torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), CAPTIONS)

    def train_dataloader(self):
        return DataLoader([self.batch] * 2, batch_size=None)

    def val_dataloader(self):
        return DataLoader([self.batch], batch_size=None)


def tiny(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"block_out_channels": (8, 8), "heads": 2, "norm_num_groups": 4, "text_width": 8, "text_layers": 1}
        return DenoiserTraining(**sizes, warmup_steps=1, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two steps of training without warm-up or decay; the module, and the directory of the pipeline."""
    directory = tmp_path_factory.mktemp("run")
    with torch.random.fork_rng():
        module = tiny(average_decay=0.75)
        Trainer(max_steps=2, default_root_dir=directory, **QUIET).fit(module, datamodule=Two())
    return module.eval(), directory / "pipeline"


pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),  # Lightning; the data are in memory
    pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning"),  # Lightning 2.6 with torch 2.13
]


class TestTraining:
    def test_both_networks_learn(self, trained):
        before, (module, _) = tiny().networks.state_dict(), trained
        assert module.global_step == 2
        changed = {name for name, value in module.networks.state_dict().items() if not torch.equal(value, before[name])}
        unused = {name for name in before if "position_ids" in name}
        assert changed == set(before) - unused

    def test_weights_are_averaged_once_a_step(self, tmp_path):
        module = tiny()
        options = {"max_steps": 1, "accumulate_grad_batches": 2, "default_root_dir": tmp_path}
        Trainer(**options, **QUIET).fit(module, datamodule=Two())
        assert module.global_step == int(module.average.n_averaged) == 1

    def test_what_is_saved_are_the_averages(self, trained):
        module, directory = trained
        unet = StableDiffusionPipeline.from_pretrained(directory, vae=None).unet
        for name, value in module.averaged["unet"].state_dict().items():
            torch.testing.assert_close(unet.state_dict()[name], value, rtol=1e-3, atol=1e-6)
        both = zip(module.averaged.parameters(), module.networks.parameters(), strict=True)
        assert all(not torch.equal(average, value) for average, value in both)

    def test_the_pipeline_runs_with_the_bundled_codec(self, trained):
        _, directory = trained
        index = json.loads((directory / "model_index.json").read_text())
        assert index["vae"] == [None, None]
        assert not (directory / "vae").exists()
        vae = AutoencoderKL.from_pretrained(BUNDLED)
        pipeline = StableDiffusionPipeline.from_pretrained(directory, vae=vae)
        pipeline.set_progress_bar_config(disable=True)
        assert isinstance(pipeline.scheduler, DDIMScheduler)
        assert {part.dtype for part in (pipeline.unet, pipeline.text_encoder)} == {torch.float32}
        noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        image = pipeline(
            CAPTIONS, latents=noise, height=64, width=64, num_inference_steps=2, guidance_scale=3.0, output_type="pt"
        )
        assert image.images.shape == (2, 3, 64, 64)
        assert image.images.isfinite().all()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_errors_are_those_of_the_schedulers_own_targets(prediction, monkeypatch):
    """Known noise and times come back from a network that always gives the same output."""
    module = tiny(prediction=prediction, snr_limit=5.0)
    latent, seen = Two().batch[0], {}
    constant = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def predict(networks, point, time, prompts):
        seen.update(point=point, time=time)
        return constant

    monkeypatch.setattr(module, "predict", predict)
    errors = module.errors(module.networks, (latent, CAPTIONS), torch.Generator().manual_seed(2))
    noise = torch.empty_like(latent).normal_(generator=torch.Generator().manual_seed(2))
    scheduler = DDPMScheduler.from_config(module.scheduler.config)
    assert (0 <= seen["time"][0] < 500 <= seen["time"][1] < 1000).item()
    torch.testing.assert_close(seen["point"], scheduler.add_noise(latent, noise, seen["time"]))
    target = noise if prediction == "epsilon" else scheduler.get_velocity(latent, noise, seen["time"])
    error = (constant - target).square().mean((1, 2, 3))
    snr = (scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod))[seen["time"]]
    weight = snr.clamp(max=5) / (snr if prediction == "epsilon" else snr + 1)
    torch.testing.assert_close(errors["loss"], (weight * error).mean())
    name = {"epsilon": "epsilon", "v_prediction": "v"}[prediction]
    torch.testing.assert_close(errors[name], error.mean())


@pytest.mark.parametrize(("dropout", "expected"), [(0.0, CAPTIONS), (0.999999, ["", ""])])
def test_captions_are_dropped(dropout, expected, monkeypatch):
    module, seen = tiny(caption_dropout=dropout), []
    monkeypatch.setattr(module, "errors", lambda networks, batch, generator: seen.extend(batch[1]) or {"loss": torch.zeros(())})
    monkeypatch.setattr(module, "log", lambda *args, **options: None)
    module.training_step(Two().batch, 0)
    assert seen == expected


@pytest.mark.parametrize("options", [{"snr_limit": 0.0}, {"caption_dropout": 1.0}, {"average_decay": 1.0}])
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        tiny(**options)


@torch.no_grad()
def test_averages_soon_forget_the_start_and_keep_to_their_decay():
    module = tiny(average_decay=0.5)
    (name, weight), expected = next(iter(module.networks.named_parameters())), []
    for step, kept in enumerate((0.0, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16, 8 / 17, 0.5, 0.5)):
        weight.fill_(float(step))
        expected.append(step if not step else kept * expected[-1] + (1 - kept) * step)
        module.average.update_parameters(module.networks)
        average = dict(module.averaged.named_parameters())[name]
        torch.testing.assert_close(average, torch.full_like(average, expected[-1]))
