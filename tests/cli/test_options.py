"""What the command line says about options and configurations that it cannot use: one sentence each."""

from pathlib import Path

import pytest

import decinv
from decinv.cli import main, run
from decinv.cli.options import OptionError

CONFIGS = Path(__file__).parents[2] / "configs"
JOB = ["fit", "-c", str(CONFIGS / "decoder_inversion.yaml"), "--model.codec=LinearCodec", "--trainer.accelerator=cpu"]

SENTENCES = {
    "--model.max_iter=5": (
        "Expected an option of DecoderInversion, but got `model.max_iter` (did you mean `max_iters`?); it "
        "takes codec, update, max_iters, rtol, patience, last_iterate, gradient_steps."
    ),
    "--model.max_iters=five": "Expected `model.max_iters` to be int, but got 'five'.",
    "--model.max_iters=-1": "Expected `max_iters` to be at least 1, but got -1.",
    "--model.patience=x": "Expected `model.patience` to be int or null, but got 'x'.",
    "--data.batch_size=0": "Expected `batch_size` to be at least 1, but got 0.",
    "--model.codec.class_path=Nope": (
        "Expected `model.codec` to be a class, such as AutoencoderCodec, LinearCodec, or a YAML file, but there is no 'Nope'."
    ),
    "--model.update=Andersen": (
        "Expected `model.update` to be a class, such as Anderson, AveragedForwardStep, ForwardStep, "
        "InertialKM, PlateauForwardStep, ResidualAnderson, Scheduled, or a YAML file, but there is no 'Andersen' "
        "(did you mean `Anderson`?)."
    ),
    "--model.update.lrr=1": (
        "Expected an option of Anderson, but got `model.update.lrr` (did you mean `lr`?); it takes lr, "
        "history, pull, decay, pixel_weight, latent_weight, ridge, trust, prior, pool, probe, elsewhere, magnify."
    ),
    "--model=GradientInversionn": (
        "Expected `model` to be a class, such as AutoencoderTraining, DecoderInversion, DenoiserTraining, "
        "EncoderInversion, FlowTraining, GradientInversion, SamplerInversion, or a YAML file, but there is no "
        "'GradientInversionn' (did you mean `GradientInversion`?)."
    ),
    "--trainer.callbacks.cuont=3": "Expected an option of Summary, but got `trainer.callbacks.cuont`.",
    "--trainer.precision=half": (
        "Expected `trainer.precision` to be one of 64, 32, 16, transformer-engine, transformer-engine-"
        "float16, 16-true, 16-mixed, bf16-true, bf16-mixed, 32-true, 64-true, bf16 or null, but got 'half'."
    ),
    "--trainer.max_stepss=3": (
        "Expected an option of `fit`, but got '--trainer.max_stepss' (did you mean `--trainer.max_steps`?); see `fit --help`."
    ),
    "--seed_everything=-1": (
        "Expected another `seed_everything`, but: -1 is not in bounds, numpy accepts from 0 to 4294967295."
    ),
    "--ckpt_path=best": "Expected `ckpt_path` to be a checkpoint, but there is nothing at 'best'.",
    f"--ckpt_path={__file__}": (
        f"Expected `ckpt_path` to be a checkpoint, but '{__file__}' is none, or was cut short; name another."
    ),
    "--out": "Expected usable options, but: argument --out: expected one argument.",
    "extra": "Expected an option of `fit`, but got 'extra'; see `fit --help`.",
    "--trainer.devices=two": (
        "Expected usable options of `trainer`, but: `devices` selected with `CPUAccelerator` should be an int > 0."
    ),
}


@pytest.mark.parametrize("option", SENTENCES)
def test_options(tmp_path, monkeypatch, capsys, option) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*JOB, option]) == 2
    assert capsys.readouterr().err == f"decinv: error: {SENTENCES[option]}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("model.method", "ExactInversion"),
        ("model.sampler", "DDIM"),
        ("model.pipeline", "DiffusersPipeline"),
        ("model.decoder", "DecodedLatent"),
        ("data.attack", "Jpeg"),
        ("data.watermark", "TreeRings"),
    ],
)
def test_classes_are_listed(capsys, key, name) -> None:
    assert main(["fit", "-c", str(CONFIGS / "watermark_detection.yaml"), f"--{key}={name}s"]) == 2
    error = capsys.readouterr().err
    assert f"Expected `{key}` to be a class, such as " in error
    assert f"but there is no '{name}s' (did you mean `{name}`?)." in error


OPTIONS = {
    "--model.method.max_iters=3": (["--model=SamplerInversion", "--data=ImageData"], "`model.method`, such as Algorithm1"),
    "--model.codec.path=x": (["--model=DecoderInversion", "--data=ImageData"], "`model.codec`, such as AutoencoderCodec"),
    "--data.root=x": (["--model=DecoderInversion"], "`data`, such as CaptionedLatents"),
    "--model.max_iters=3": ([], "`model`, such as AutoencoderTraining"),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_without_their_class(capsys, option) -> None:
    before, sentence = OPTIONS[option]
    assert main(["fit", *before, option]) == 2
    error = capsys.readouterr().err
    assert f"decinv: error: Expected a class for {sentence}" in error
    assert f"put `{option.rpartition('.')[0]} CLASS` in front of them." in error


@pytest.mark.parametrize(("key", "name"), [("mask", "PromptMask"), ("negative", "NullText")])
def test_classes_of_edits_are_listed(tmp_path, capsys, key, name) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(f"trainer: {{callbacks: [{{class_path: Editing, init_args: {{{key}: {name}s}}}}]}}", encoding="utf-8")
    assert main(["fit", "-c", str(CONFIGS / "editing.yaml"), "-c", str(file)]) == 2
    assert f"but there is no '{name}s' (did you mean `{name}`?)." in capsys.readouterr().err


def test_a_value_that_a_foreign_class_refuses(tmp_path, capsys) -> None:
    assert main([*JOB, "--model.update=SGD", "--model.update.lr=-1", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == "decinv: error: Expected usable options, but: Invalid learning rate: -1.0\n"


def test_options_of_a_codec(tmp_path, capsys) -> None:
    assert main([*JOB[:3], "--model.codec.dtype=float17", "--out", str(tmp_path / "run")]) == 2
    assert "Expected `model.codec.dtype` to be one of float32, bfloat16, float16, but got 'float17'." in capsys.readouterr().err


@pytest.mark.parametrize(("prompts", "shown"), [("a red circle", "a red circle"), ("{a: 1}", "{'a': 1}")])
def test_an_option_that_takes_a_list(tmp_path, capsys, prompts, shown) -> None:
    job = ["fit", "-c", "configs/sampler_inversion.yaml", "--out", str(tmp_path / "run")]
    assert main([*job, f"--data.prompts={prompts}"]) == 2
    assert f"Expected `data.prompts` to be list[str] or null, but got '{shown}'." in capsys.readouterr().err


FILES = {
    "trainr: {devices: 1}": "Expected a key of the configuration, but got `trainr.devices` (did you mean `trainer.devices`?).",
    "trainer: {callbacks: [{class_path: Images, init_args: {cuont: 3}}]}": (
        "Expected an option of Images, but got `trainer.callbacks.cuont` (did you mean `count`?); it takes count."
    ),
    "trainer:\n  devices: 1\n  devices: 2\n": (
        "Expected 'x.yaml' to be YAML, but in line 3, column 3, the key 'devices' is there twice."
    ),
    "trainer:\n  devices: 1\n   accelerator: cpu\n": (
        "Expected 'x.yaml' to be YAML, but in line 3, column 15, mapping values are not allowed here."
    ),
    "trainer: [1": "Expected 'x.yaml' to be YAML, but in line 1, column 12, expected ',' or ']', but got '<stream end>'.",
    "trainer: null": "Expected keys and values of `trainer`, but got None; leave it out where there are none.",
    "? [a]\n: 1": "Expected 'x.yaml' to be YAML, but in line 1, column 3, found unhashable key.",
    "": "Expected 'x.yaml' to hold keys and values, such as `trainer:`, but got an empty file.",
    "class_path: Anderson": (
        "Expected 'x.yaml' to hold a part of a configuration, such as `trainer:`, but it describes one class, Anderson; name "
        "the file behind the option for that class, such as `--model.update`."
    ),
    "- trainer": "Expected 'x.yaml' to hold keys and values, such as `trainer:`, but got a list.",
}


@pytest.mark.parametrize("content", FILES)
def test_files(tmp_path, monkeypatch, capsys, content) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(content)
    assert main([*JOB, "--config=x.yaml"]) == 2
    assert capsys.readouterr().err == f"decinv: error: {FILES[content]}\n"


SUBCOMMAND = "Expected the subcommand `fit`, as in `decinv fit -c configs/decoder_inversion.yaml`; see `fit --help`."


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], SUBCOMMAND),
        (["predict"], SUBCOMMAND),
        (["validate", *JOB[1:3]], SUBCOMMAND),
        (["fit"], "Expected a configuration with `model` and `data`; give one, such as `-c configs/decoder_inversion.yaml`."),
        (["fit", "-c", "missing.yaml"], "Expected -c to name a configuration file, but there is none at 'missing.yaml'."),
        ([*JOB[1:3], "fit"], "Expected `fit` before `-c` and all other options, but got it behind; put it first."),
        (["fit", "-c"], "Expected usable options, but: argument -c/--config: expected one argument."),
    ],
)
def test_command_lines(capsys, args, sentence) -> None:
    assert main(args) == 2
    assert capsys.readouterr().err == f"decinv: error: {sentence}\n"


HELP = {
    "--data.help=Nope": "Expected `data` to be a class, such as CaptionedLatents, ",
    "--model.help=decinv.callbacks.Images": 'Expected `model` to be usable, but: --model.help: "decinv.callbacks.Images" is',
    "--model.codec.help=AutoencoderCodec": "Expected a class for `model`, such as AutoencoderTraining, ",
}


@pytest.mark.parametrize("option", HELP)
def test_help_that_there_is_not(capsys, option) -> None:
    assert main(["fit", option]) == 2
    assert capsys.readouterr().err.startswith(f"decinv: error: {HELP[option]}")


def test_help_within_a_class_names_the_whole_key(capsys) -> None:
    assert main([*JOB, "--model.codec.help=Nope"]) == 2
    assert "Expected `model.codec` to be a class, such as AutoencoderCodec, LinearCodec, or" in capsys.readouterr().err
    assert main([*JOB, "--model.codc.help=LinearCodec"]) == 2
    assert "Expected an option of DecoderInversion, but got `model.codc` (did you mean `codec`?)" in capsys.readouterr().err


def test_advice_names_the_command_that_was_run(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["/repository/main.py", "predict"])
    assert main() == 2
    assert "as in `python main.py fit -c configs/" in capsys.readouterr().err


def test_the_version_is_told(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.endswith(f" {decinv.__version__}\n")


def test_python_gets_an_exception_and_help_still_exits() -> None:
    with pytest.raises(OptionError, match="did you mean `max_iters`"):
        run([*JOB, "--model.max_iter=5"])
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--model.help", "DecoderInversion"])
    assert stop.value.code == 0


NESTED = {"once": ["DDIM", "sampler"], "twice": ["Cached", "sampler.sampler"]}


@pytest.mark.parametrize(("kind", "key"), NESTED.values(), ids=NESTED)
def test_null_reaches_classes_within_classes(capsys, kind, key) -> None:
    job = ["fit", "-c", str(CONFIGS / "sampler_inversion.yaml"), f"--model.sampler={kind}", f"--model.{key}=DDIM"]
    with pytest.raises(SystemExit) as stop:
        main([*job, f"--model.{key}.offset=1", f"--model.{key}.offset=null", "--print_config"])
    assert stop.value.code == 0
    assert " offset: null\n" in capsys.readouterr().out
