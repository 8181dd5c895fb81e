"""Every YAML in configs/ runs."""

import csv
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from decinv.cli import run
from decinv.diffusion import BDIA, DDIM, Condition, DPMSolver, GaussianDenoiser, Guidance, Process, Prompt, Sampler
from decinv.methods import Method
from decinv.metrics import nmse_db
from decinv.runs.latents import names_in

CONFIGS = Path(__file__).parents[1] / "configs"
QUICK = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.batch_size=2"]
LINEAR = ["--model.codec=LinearCodec", "--model.codec.stride=8"]
SMALL = ["--model.block_out_channels=[8,8]", "--model.norm_num_groups=4"]
SHORT = [*LINEAR, "--model.max_iters=3", "--data.limit=2"]
LEAN = ["--trainer.callbacks=[ResultWriter]", "--trainer.logger=false"]
"""No curves and pictures, which take longer than the rest of a short run; the jobs have them."""


def fit(tmp_path, config, *options):
    return run(["fit", "-c", str(CONFIGS / config), "--trainer.accelerator=cpu", *options, "--out", str(tmp_path / "run")])


def train(out, name, *options):
    short = ("--trainer.max_steps=2", "--trainer.val_check_interval=2", "--trainer.precision=32-true", "--trainer.callbacks=[]")
    config = str(CONFIGS / "train" / f"{name}.yaml")
    return run(["fit", "-c", config, "--out", str(out), *QUICK, *short, "--data.validation_count=2", *options])


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(CONFIGS.glob("*.yaml"))
        if path.stem not in ("editing", "sampler_inversion", "watermark_detection")
    ],
    ids=lambda path: path.stem,
)
def test_jobs(tmp_path, path):
    options = [*LINEAR, "--data.limit=2"] if "encoder" in path.stem else SHORT
    options = [*LINEAR, "--model.max_iters=3", "--data.limit=1", "--data.clip_length=2"] if "video" in path.stem else options
    cli = fit(tmp_path, path.name, *options)
    assert (tmp_path / "run" / "config.yaml").is_file()
    table = (tmp_path / "run" / "results.csv").read_text().splitlines()
    assert len(table) == 3
    assert sum(len(names_in(path)) for path in (tmp_path / "run" / "latents").rglob("*.safetensors")) == 2
    assert cli.trainer.global_step == (0 if "encoder" in path.stem else 2)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("update/*.yaml")), ids=lambda path: path.stem)
def test_update_fragments(tmp_path, path):
    job = "gradient_inversion.yaml" if "gradient" in path.stem else "decoder_inversion.yaml"
    cli = fit(tmp_path, job, *SHORT, *LEAN, "--model.update", str(path))
    assert (tmp_path / "run" / "results.csv").is_file()
    assert cli.trainer.global_step > 0


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("codec/*.yaml")), ids=lambda path: path.stem)
def test_codec_fragments(tmp_path, path):
    data = ["--data=GeneratedData", "--data.count=1", "--data.size=16"]  # small, for not every machine computes in bfloat16
    fit(tmp_path, "decoder_inversion.yaml", "--model.max_iters=1", *LEAN, "--model.codec", str(path), *data)
    assert "MAX_ITERS" in (tmp_path / "run" / "results.csv").read_text()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("data/*.yaml")), ids=lambda path: path.stem)
def test_data_fragments(tmp_path, path):
    sizes = {
        "generated": ["--data.count=2"],
        "generated_clips": ["--data.count=1", "--data.clip_length=2"],
        "video": ["--data.limit=1", "--data.clip_length=2", "--data.clips=1"],
    }
    size = sizes.get(path.stem, ["--data.limit=2"])
    options = ["--data", str(path), *size, *LINEAR, *LEAN, "--model.max_iters=3"]
    fit(tmp_path, "decoder_inversion.yaml", *options)
    assert len((tmp_path / "run" / "results.csv").read_text().splitlines()) == 3


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
@pytest.mark.parametrize("name", ["autoencoder", "narrow"])
def test_training_of_codecs(tmp_path, name):
    cli = train(tmp_path / "run", name, *SMALL, "--data.num_workers=0", "--data.size=16")
    assert cli.trainer.global_step == 2
    assert (tmp_path / "run" / "codec" / "diffusion_pytorch_model.safetensors").is_file()


def test_sampler_job(tmp_path, saved_pipeline):
    directory = tmp_path / "run"
    fit(
        tmp_path,
        "sampler_inversion.yaml",
        *("--data.count=1", "--data.size=16", f"--model.pipeline.path={saved_pipeline('stable')[0]}"),
        *("--model.codec=LinearCodec", "--model.codec.stride=4", "--trainer.callbacks=[{class_path: ResultWriter}]"),
        *("--model.sampler", str(CONFIGS / "sampler" / "dpm_solver.yaml"), "--model.sampler.init_args.steps=2"),
        *("--model.method", str(CONFIGS / "method" / "naive.yaml"), "--model.decoder=EncodedLatent"),
    )
    assert len((directory / "results.csv").read_text().splitlines()) == 2
    assert [names_in(path) for path in (directory / "noise").glob("*")] == [{"sampled-00000"}]


def test_the_sampler_of_the_job_has_the_times_of_any_pipeline():
    config = yaml.safe_load((CONFIGS / "sampler_inversion.yaml").read_text())
    assert config["model"]["init_args"]["sampler"] == {"class_path": "DDIM", "init_args": {"steps": 50}}


def test_samplers_of_pairs(tmp_path, saved_pipeline):
    fit(
        tmp_path,
        "sampler_inversion.yaml",
        *("--data.count=2", "--data.size=16", "--data.batch_size=2"),
        f"--model.pipeline.path={saved_pipeline('stable')[0]}",
        *("--model.codec=LinearCodec", "--model.codec.stride=4", "--model.decoder=KnownLatent"),
        *("--model.sampler", str(CONFIGS / "sampler" / "edict.yaml"), "--model.sampler.init_args.steps=4"),
        *("--model.method", str(CONFIGS / "method" / "pairs.yaml")),
    )
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["CONVERGED"] * 2
    assert max(float(row["noise_nmse_db"]) for row in rows) < -100
    assert {row["evaluations"] for row in rows} == {"8"}


def load(path, kind):
    """Make the object of a fragment, as the command line does."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--made", type=kind)
    return parser.instantiate(parser.parse_object({"made": yaml.safe_load(path.read_text())}))["made"]


def normal(sampler, **options):
    """Make the process of a sampler on normal data."""
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"} | options
    trajectory = sampler.trajectory(config)
    noise = torch.randn(2, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    prompt = Prompt(torch.zeros(2, 1, 1, 1))
    denoiser = GaussianDenoiser(config, 0.7)
    return Process(trajectory, Guidance(denoiser, 2.0), Condition(prompt, prompt), [noise] * len(trajectory.steps)), noise


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("sampler/*.yaml")), ids=lambda path: path.stem)
def test_sampler_fragments(path):
    flows = {"prediction_type": "flow_prediction"} if path.stem in ("flux", "sd3", "rf_solver", "fireflow") else {}
    process, noise = normal(load(path, Sampler), **flows)
    assert process.generate(noise).isfinite().all()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("method/*.yaml")), ids=lambda path: path.stem)
def test_method_fragments(path):
    method = load(path, Method)
    if path.stem == "naive_fine":
        method.sampler.steps = 60  # for a short test
    samplers = {"algorithm2": DPMSolver(4), "newton_krylov": DDIM(4), "pairs": BDIA(20)}
    process, noise = normal(samplers.get(path.stem, DDIM(20)))
    latent, process.companion = process.generate_pair(noise)
    result = method.invert(process, latent)
    assert result.latent.isfinite().all()
    if not path.stem.startswith("gnri"):
        assert nmse_db(result.latent, noise).max() < -10


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


def test_watermark_detection(tmp_path, saved_pipeline):
    tiny = [f"--model.pipeline.path={saved_pipeline('stable')[0]}", "--model.codec=LinearCodec", "--model.codec.stride=2"]
    exact = ["--model.decoder=EncodedLatent", "--model.guidance=1", "--model.sampler.init_args.steps=1"]
    exact += ["--model.method=NaiveInversion"]
    small = ["--data.count=8", "--data.size=16", "--data.watermark.init_args.shape=[4,8,8]"]
    fit(tmp_path, "watermark_detection.yaml", *tiny, *exact, *small)
    with (tmp_path / "run" / "watermark.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["true_mark"] for row in rows] == ["0", "1", "2", "-1"] * 2
    assert all(0 <= float(row["p_value"]) <= 1 and row["found"] == str(float(row["p_value"]) <= 0.01) for row in rows)
    with (tmp_path / "run" / "detection.csv").open(newline="") as file:
        rates = {row["quantity"]: row["value"] for row in csv.DictReader(file)}
    assert (rates["marked images"], rates["unmarked images"]) == ("6", "2")
    assert float(rates["AUC"]) >= 0


def test_editing(tmp_path, saved_pipeline):
    tiny = [f"--model.pipeline.path={saved_pipeline('stable')[0]}", "--model.codec=LinearCodec", "--model.codec.stride=2"]
    quick = ["--model.decoder=EncodedLatent", "--model.sampler.init_args.steps=2", "--model.method=NaiveInversion"]
    fit(tmp_path, "editing.yaml", *tiny, *quick, "--data.count=2", "--data.size=16")
    with (tmp_path / "run" / "edits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["edit"]) for row in rows] == [(f"sampled-0000{i}", str(k)) for i in range(2) for k in range(2)]
    assert all(float(row["background_nmse"]) >= 0 for row in rows)
