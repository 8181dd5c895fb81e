"""Every YAML in configs/ runs."""

from pathlib import Path

import pytest

from decinv.cli import run
from decinv.runs.latents import names_in

CONFIGS = Path(__file__).parents[1] / "configs"
QUICK = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.batch_size=2"]
LINEAR = ["--model.codec=LinearCodec", "--model.codec.stride=8"]
SMALL = ["--model.block_out_channels=[8,8]", "--model.norm_num_groups=4"]
SHORT = [*LINEAR, "--model.max_iters=3", "--data.limit=2"]


def fit(tmp_path, config, *options):
    return run(["fit", "-c", str(CONFIGS / config), "--trainer.accelerator=cpu", *options, "--out", str(tmp_path / "run")])


def train(out, name, *options):
    short = ("--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.precision=32-true", "--trainer.callbacks=[]")
    config = str(CONFIGS / "train" / f"{name}.yaml")
    return run(["fit", "-c", config, "--out", str(out), *QUICK, *short, "--data.validation_count=2", *options])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_jobs(tmp_path, path):
    options = [*LINEAR, "--data.limit=2"] if "encoder" in path.stem else SHORT
    cli = fit(tmp_path, path.name, *options)
    assert (tmp_path / "run" / "config.yaml").is_file()
    table = (tmp_path / "run" / "results.csv").read_text().splitlines()
    assert len(table) == 3
    assert sum(len(names_in(path)) for path in (tmp_path / "run" / "latents").rglob("*.safetensors")) == 2
    assert cli.trainer.global_step == (0 if "encoder" in path.stem else 2)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("update/*.yaml")), ids=lambda path: path.stem)
def test_update_fragments(tmp_path, path):
    job = "gradient_inversion.yaml" if path.stem.startswith("gradient") else "decoder_inversion.yaml"
    cli = fit(tmp_path, job, *SHORT, "--model.update", str(path))
    assert (tmp_path / "run" / "results.csv").is_file()
    assert cli.trainer.global_step > 0


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("codec/*.yaml")), ids=lambda path: path.stem)
def test_codec_fragments(tmp_path, path):
    data = ["--data=GeneratedData", "--data.count=1", "--data.size=16"]  # small, for not every machine computes in bfloat16
    fit(tmp_path, "decoder_inversion.yaml", "--model.max_iters=2", "--model.codec", str(path), *data)
    assert "MAX_ITERS" in (tmp_path / "run" / "results.csv").read_text()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("data/*.yaml")), ids=lambda path: path.stem)
def test_data_fragments(tmp_path, path):
    size = ["--data.count=2"] if "generated" in path.stem else ["--data.limit=2"]
    options = ["--data", str(path), *size, *LINEAR, "--model.max_iters=3"]
    fit(tmp_path, "decoder_inversion.yaml", *options)
    assert len((tmp_path / "run" / "results.csv").read_text().splitlines()) == 3


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
@pytest.mark.parametrize("name", ["autoencoder", "narrow"])
def test_training_of_codecs(tmp_path, name):
    cli = train(tmp_path / "run", name, *SMALL, "--data.num_workers=0", "--data.size=16")
    assert cli.trainer.global_step == 2
    assert (tmp_path / "run" / "codec" / "diffusion_pytorch_model.safetensors").is_file()


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # diffusers' DPM-Solver with numpy 2
def test_training_of_diffusion_models(tmp_path):
    data = ("--data.size=64", "--data.count=2", "--data.large_size=128", "--data.large_count=2", "--data.large_every=2")
    train(tmp_path / "denoiser", "denoiser", *SMALL, *data, "--model.heads=2", "--model.text_width=8")
    made = str(tmp_path / "denoiser" / "pipeline")
    cli = train(tmp_path / "flow", "flow", *data, f"--model.pipeline={made}", f"--data.pipeline={made}", "--data.steps=2")
    assert cli.trainer.global_step == 2
    assert (tmp_path / "flow" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors").is_file()


def test_every_training_is_tested():
    assert {path.stem for path in CONFIGS.glob("train/*.yaml")} == {"autoencoder", "narrow", "denoiser", "flow"}
