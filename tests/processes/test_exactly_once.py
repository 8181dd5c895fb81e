"""Any number of images on any number of processes: each image once, and the same results, bit for bit."""

from pathlib import Path

import pytest
import torch

from decinv.runs import RunDirectory, Share
from decinv.runs.merge import survey


@pytest.fixture
def fit(start, job, writer, elastic, tmp_path):
    def run(name: str, processes: int, *options: str) -> Path:
        args = [*job, writer, *options, "--out", name]
        for each in [start(args, elastic(rank, processes) if processes > 1 else {}) for rank in range(processes)]:
            assert each.wait() == 0, each.err.read_text()
        return tmp_path / name

    return run


@pytest.mark.parametrize("count", [0, 1, 7, 100])
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
