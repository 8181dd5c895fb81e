"""Any number of images on any number of processes: each image once, and the same results, bit for bit."""

import signal
from pathlib import Path
from socket import gethostname

import pytest
import torch

from decinv.runs import RunDirectory, Share
from decinv.runs.merge import survey

TARGETS = Path(__file__).with_name("targets.py")


@pytest.fixture
def fit(start, job, writer, elastic, tmp_path):
    def run(name: str, processes: int, *options: str) -> Path:
        args = [*job, writer, *options, "--out", name]
        for each in [start(args, elastic(rank, processes) if processes > 1 else {}) for rank in range(processes)]:
            assert each.wait() == 0, each.err.read_text()
        return tmp_path / name

    return run


@pytest.mark.parametrize("count", [0, 1, 7, 26])
def test_each_image_once_with_the_same_result(fit, outcome, count):
    options = [f"--data.count={count}", "--data.batch_size=4"]
    rows, latents = outcome(fit("one", 1, *options))
    assert [row["name"] for row in rows] == [f"generated-{index:05d}" for index in range(count)]
    for processes in (2, 3):
        directory = fit(f"{processes}", processes, *options, f"--trainer.devices={processes}")
        report = survey(RunDirectory(directory))
        assert (report.total, report.missing, report.repeated) == (count, (), ())
        tables = [RunDirectory(directory).table(Share(rank, processes)) for rank in range(processes)]
        assert sorted(RunDirectory(directory).tables) == tables
        other_rows, other_latents = outcome(directory)
        assert other_rows == rows
        assert other_latents.keys() == latents.keys()
        assert all(torch.equal(other_latents[name], latents[name]) for name in latents)


def test_jobs_of_an_array_share_a_directory(start, job, writer, outcome, tmp_path):
    options = [writer, "--data.count=21", "--data.batch_size=4", "--out", "array"]
    for each in [start([*job, *options, f"--data.shard={index}/3"]) for index in range(3)]:
        assert each.wait() == 0, each.err.read_text()
    assert survey(RunDirectory(tmp_path / "array")).complete
    rows, latents = outcome(tmp_path / "array")
    assert start([*job, *options[:-1], "whole"]).wait() == 0
    expected, expected_latents = outcome(tmp_path / "whole")
    assert rows == expected
    assert all(torch.equal(latents[name], expected_latents[name]) for name in latents)


@pytest.mark.parametrize("fresh", [[], ["--fresh=true"]])
def test_a_second_start_beside_the_first_is_refused(start, endless, writer, tmp_path, fresh):
    first = start([*endless, writer, "--out", "run"])
    table = tmp_path / "run" / "tables" / "00000-of-00001.csv"
    first.until(lambda: table.exists() and ",latents/" in table.read_text())
    second = start([*endless, writer, "--out", "run", *fresh], target=f"{TARGETS}:impatient")
    assert second.wait() == 2
    assert second.err.read_text() == (
        f"decinv: error: Expected to work on the run in run alone, but process {first.process.pid} on {gethostname()} "
        "(.00000-of-00001.lock) does the same work now; wait for it or end it, or delete that file if its machine was lost.\n"
    )
    assert first.process.is_alive()
    assert ",latents/" in table.read_text()


def test_a_process_that_was_killed_keeps_nobody_from_its_work(start, job, endless, writer, tmp_path):
    first = start([*endless, writer, "--out", "run"])
    first.until((tmp_path / "run" / "inputs.jsonl").exists)
    first.send(signal.SIGKILL)
    first.wait()
    assert start([*job, writer, "--out", "run", "--fresh=true"], target=f"{TARGETS}:impatient").wait() == 0
