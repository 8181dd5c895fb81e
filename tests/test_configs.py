"""Every YAML in configs/ runs."""

from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from decinv.cli import run
from decinv.diffusion import DDIM, Condition, DPMSolver, GaussianDenoiser, Guidance, Process, Prompt, Sampler
from decinv.methods import Method
from decinv.metrics import nmse_db
from decinv.runs.latents import names_in

CONFIGS = Path(__file__).parents[1] / "configs"
QUICK = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.batch_size=2"]
LINEAR = ["--model.codec=LinearCodec", "--model.codec.stride=8"]
SHORT = [*LINEAR, "--model.max_iters=3", "--data.limit=2"]


def fit(tmp_path, config, *options):
    return run(["fit", "-c", str(CONFIGS / config), "--trainer.accelerator=cpu", *options, "--out", str(tmp_path / "run")])


@pytest.mark.parametrize(
    "path", [path for path in sorted(CONFIGS.glob("*.yaml")) if path.stem != "sampler_inversion"], ids=lambda path: path.stem
)
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
@pytest.mark.parametrize("path", sorted(CONFIGS.glob("train/*.yaml")), ids=lambda path: path.stem)
def test_training_of_codecs(tmp_path, path):
    cli = run(
        [
            "fit",
            *("-c", str(path), "--out", str(tmp_path / "run"), *QUICK),
            *(
                "--trainer.max_steps=2",
                "--trainer.val_check_interval=2",
                "--trainer.precision=32-true",
                "--trainer.callbacks=[]",
            ),
            *("--data.num_workers=0", "--data.size=16", "--data.validation_count=2"),
            *("--model.block_out_channels=[8,8]", "--model.norm_num_groups=4"),
        ]
    )
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
    flows = {"prediction_type": "flow_prediction"} if path.stem in ("flux", "instaflow") else {}
    process, noise = normal(load(path, Sampler), **flows)
    assert process.generate(noise).isfinite().all()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("method/*.yaml")), ids=lambda path: path.stem)
def test_method_fragments(path):
    method = load(path, Method)
    if path.stem == "naive_fine":
        method.sampler.steps = 60  # for a short test
    process, noise = normal(DPMSolver(4) if path.stem == "algorithm2" else DDIM(4 if path.stem == "newton_krylov" else 20))
    result = method.invert(process, process.generate(noise))
    assert result.latent.isfinite().all()
    if not path.stem.startswith("gnri"):
        assert nmse_db(result.latent, noise).max() < -10
