"""README's Python blocks run, and its commands have options that the parsers know."""

import re
import shlex
import shutil
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from diffusers.utils import logging
from jsonargparse import auto_parser
from PIL import Image

from decinv.benchmark.__main__ import BENCHMARKS
from decinv.benchmark.report.command import report_command
from decinv.cli import DecinvCLI, run
from decinv.codecs.loading import BUNDLED
from decinv.data.shipped import SAMPLES
from decinv.runs.__main__ import main as merge_tables
from decinv.watermark.__main__ import KINDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMENT = re.compile(r"(?m)\s+#.*$")
TEXTS = [
    *re.findall(r"```bash\n(.*?)```", README, re.DOTALL),
    *(text + "\n" for text in re.findall(r"`(python [^`\s]+ [^`]+)`", README)),
]
COMMANDS = [
    line.split("&&")[-1].strip()
    for text in TEXTS
    for line in COMMENT.sub("", text.replace("\\\n", " ")).replace("\n  --", " --").splitlines()
    if "python " in line
]
QUICK = {
    "DDIM(50)": "DDIM(2)",
    "length=16": "length=2",
    "guidance_scale=3.0": "guidance_scale=3.0, num_inference_steps=1",
}
"""What is shortened for the test."""


class Parsed(Exception):  # noqa: N818
    """The command line was parsed, and nothing was run."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Make a directory with what README's blocks name: small images, the directory of a codec, and a run."""
    directory = tmp_path_factory.mktemp("readme")
    for name, sample in zip(("photo.png", "other.png"), sorted(SAMPLES.glob("*.png")), strict=False):
        Image.open(sample).resize((32, 32)).save(directory / name)
    shutil.copytree(BUNDLED, directory / "DIR")
    (directory / "configs").symlink_to(ROOT / "configs")
    options = ["--trainer.accelerator=cpu", "--data.root", str(directory / "photo.png"), "--out", str(directory / "RUN")]
    run(["fit", "-c", str(ROOT / "configs" / "encoder_inversion.yaml"), *options])
    return directory


def test_there_are_blocks_and_commands():
    assert len(BLOCKS) >= 6
    assert len(COMMANDS) >= 25
    assert all(any(text in block for block in BLOCKS) for text in QUICK)


def test_what_is_said_of_the_benchmarks():
    listed = re.findall(r"^- `(\w+)`: ", README[README.index("\n## Benchmark") :], re.MULTILINE)
    assert sorted([*listed, "report"]) == sorted(BENCHMARKS)
    assert [name for name in listed if "codecs" in signature(BENCHMARKS[name]).parameters] == listed[:7]
    assert all("environment.json" in BENCHMARKS[name].__doc__ for name in listed)
    assert [name for name in listed if ".png" not in BENCHMARKS[name].__doc__] == listed[-4:]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # diffusers' pipelines
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[-1][:40])
def test_blocks_run(files, film, monkeypatch, block):
    monkeypatch.chdir(files)
    film("film.mp4", np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8))
    logging.set_verbosity_error()
    for text, short in QUICK.items():
        block = block.replace(text, short)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_parsed(files, monkeypatch, command):
    def stop(self: DecinvCLI) -> None:
        raise Parsed

    monkeypatch.chdir(files)
    monkeypatch.setattr(DecinvCLI, "before_instantiate_classes", stop)
    monkeypatch.setattr("decinv.benchmark.report.command.report", lambda *options: None)
    words = shlex.split(command.replace("...", ""))
    match words[1:]:
        case ["main.py", *options]:
            with pytest.raises((Parsed, SystemExit)) as found:
                run(options)
            assert found.type is Parsed or found.value.code == 0
        case ["-m", "decinv.benchmark", "report", *options]:
            report_command(options)
        case ["-m", "decinv.benchmark", "NAME", *options]:
            parser = auto_parser(BENCHMARKS, as_positional=False)
            for name in BENCHMARKS.keys() - {"report"}:
                parser.parse_args([name, *options])
        case ["-m", "decinv.benchmark", *options]:
            auto_parser(BENCHMARKS, as_positional=False).parse_args(options)
        case ["-m", "decinv.watermark", *options]:
            auto_parser(KINDS, as_positional=False).parse_args(options)
        case ["-m", "decinv.runs", *options]:
            assert merge_tables(options) == 0
        case _:
            pytest.fail(f"Expected a command that this test knows, but got {command!r}.")
