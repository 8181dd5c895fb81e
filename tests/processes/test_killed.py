"""SIGKILL at any moment, of one process or of all: started again, the run ends as if nothing had happened."""

import random
import signal
import time

import pytest
import torch

from decinv.runs import RunDirectory
from decinv.runs.merge import survey

OPTIONS = ["--data.count=48", "--data.batch_size=2", "--model.rtol=1e-6"]


@pytest.fixture(scope="module")
def reference():
    """What an uninterrupted run gave, and how long it took, once it is known."""
    return {}


@pytest.mark.parametrize("moment", range(8))
def test_the_end_is_that_of_an_uninterrupted_run(start, job, writer, outcome, elastic, tmp_path, reference, moment):
    choose = random.Random(moment)
    processes = 1 + moment % 3
    options = [*job, writer, *OPTIONS]
    if not reference:
        began = time.monotonic()
        assert start([*options, "--out", "whole"]).wait() == 0
        reference["seconds"] = time.monotonic() - began
        reference["outcome"] = outcome(tmp_path / "whole")

    def begin():
        many = [f"--trainer.devices={processes}"] if processes > 1 else []
        environments = [elastic(rank, processes) if processes > 1 else {} for rank in range(processes)]
        return [start([*options, *many, "--out", "run"], environment) for environment in environments]

    running = begin()
    time.sleep(choose.uniform(0, reference["seconds"]))
    victims = running if choose.random() < 0.5 else [choose.choice(running)]
    for each in victims:
        if each.process.is_alive():
            each.send(signal.SIGKILL)
    for each in running:
        assert each.wait() in ((0, -signal.SIGKILL) if each in victims else (0,)), each.err.read_text()
    processes = choose.choice([1, 2, 3])  # of a restart, any number
    for each in begin():
        assert each.wait() == 0, each.err.read_text()

    report = survey(RunDirectory(tmp_path / "run"))
    assert (report.complete, report.repeated) == (True, ())
    rows, latents = outcome(tmp_path / "run")
    expected, expected_latents = reference["outcome"]
    assert rows == expected
    assert all(torch.equal(latents[name], expected_latents[name]) for name in expected_latents)
    assert not list((tmp_path / "run").rglob("*.part*"))
