"""Runs of the command line in processes of their own, each a tenth of a second away instead of six seconds of imports.

A fork server imports the package once; each process is forked from it, with its own environment, directory and output.
"""

import csv
import multiprocessing
import os
import runpy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from decinv.runs import RunDirectory

ROOT = Path(__file__).parents[2]
LIMIT = 60.0
"""Seconds after which a process that should have ended fails its test."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["decinv.cli", "torch.utils.tensorboard", "PIL.PngImagePlugin"])  # and what it imports late

JOB = [
    "fit",
    *("-c", str(ROOT / "configs" / "decoder_inversion.yaml")),
    *("--model.codec", str(ROOT / "configs" / "codec" / "linear.yaml")),
    *("--data", str(ROOT / "configs" / "data" / "generated.yaml"), "--data.count=4", "--data.batch_size=2", "--data.size=16"),
    *("--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.callbacks=[]", "--trainer.enable_progress_bar=false"),
]


def elastic_environment(rank: int, world_size: int) -> dict[str, str]:
    """Give the environment that torchrun gives to a process on one machine."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29511",
        "TORCHELASTIC_RUN_ID": "test",
    }


def slurm_environment(rank: int, world_size: int, nodes: int) -> dict[str, str]:
    """Give the environment that srun gives to a task of a job with as many tasks on each node."""
    per_node = world_size // nodes
    return {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "test",
        "SLURM_NTASKS": str(world_size),
        "SLURM_NTASKS_PER_NODE": str(per_node),
        "SLURM_NNODES": str(nodes),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank % per_node),
        "SLURM_NODEID": str(rank // per_node),
    }


@dataclass(frozen=True)
class Running:
    """A process.

    Attributes:
        process: The process.
        out: The file of its standard output.
        err: The file of its standard error.
    """

    process: ForkServerProcess
    out: Path
    err: Path

    def send(self, signum: int) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signum)

    def wait(self, seconds: float = LIMIT) -> int:
        """Wait for its end and give its exit status, negative for a signal; fail after ``seconds``."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            pytest.fail(f"The process did not end within {seconds} s; it said: {self.err.read_text()}")
        return self.process.exitcode

    def until(self, condition: Callable[[], bool], seconds: float = LIMIT) -> None:
        """Wait until something has become true while the process runs; fail after ``seconds``, or if it ends before."""
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.process.is_alive() or time.monotonic() > deadline:
                pytest.fail(f"It did not happen; exit status {self.process.exitcode}: {self.err.read_text()}")
            time.sleep(0.02)


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a process and returns at once: ``start(args, env={}, target="")``.

    The process runs ``decinv.cli.main(args)`` in the test's directory, with the variables of ``env`` beside those of the test
    run, one thread, and its output in files; its exit status is main's. ``target="FILE.py:FUNCTION"`` names another function of
    ``args`` than main. What is still running when the test ends is killed.
    """
    running: list[Running] = []

    def begin(args: Sequence[str], env: Mapping[str, str] | None = None, target: str = "") -> Running:
        out, err = (tmp_path / f"process_{len(running)}.{kind}" for kind in ("out", "err"))
        for file in (out, err):
            file.touch()
        given = {"ARGS": list(args), "ENV": dict(env or {}), "CWD": str(tmp_path), "OUT": str(out), "ERR": str(err)}
        # Tests are no modules that another process could import by name, so a path is handed over.
        child = str(Path(__file__).with_name("child.py"))
        process = CONTEXT.Process(target=runpy.run_path, args=(child, {**given, "TARGET": target}, "child"))
        process.start()
        running.append(Running(process, out, err))
        return running[-1]

    yield begin
    for each in running:
        if each.process.is_alive():
            each.process.kill()
            each.process.join()


@pytest.fixture
def job() -> list[str]:
    """Give a command line that inverts four images in a fraction of a second; options that follow replace those in it."""
    return list(JOB)


@pytest.fixture
def endless(job: list[str]) -> list[str]:
    """Give a command line that takes hours, in chunks of some ten milliseconds."""
    return [*job, "--data.count=100000", "--data.batch_size=1"]


@pytest.fixture
def elastic() -> Callable[[int, int], dict[str, str]]:
    """Give ``elastic_environment``."""
    return elastic_environment


@pytest.fixture
def slurm() -> Callable[[int, int, int], dict[str, str]]:
    """Give ``slurm_environment``."""
    return slurm_environment


@pytest.fixture
def writer() -> str:
    """Give the option that writes results, and nothing else."""
    return '--trainer.callbacks=[{"class_path": "ResultWriter"}]'


Outcome = tuple[list[dict[str, str]], dict[str, torch.Tensor]]


@pytest.fixture
def outcome() -> Callable[[Path], Outcome]:
    """Give a function that reads a run: its merged rows, but for the time and memory that they took, and its latents."""

    def read(directory: Path) -> Outcome:
        run = RunDirectory(directory)
        with run.results.open(newline="", encoding="utf-8") as file:
            rows = [{k: v for k, v in row.items() if k not in ("seconds", "peak_mib")} for row in csv.DictReader(file)]
        return rows, {row.name: run.latent(row) for row in run.rows() if row.latents}

    return read
