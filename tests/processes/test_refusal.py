"""Strategies under which processes wait for each other are refused, and nothing is left waiting."""

from pathlib import Path

import pytest

TRAINER = f"{Path(__file__).with_name('targets.py')}:trainer_with_ddp"


def test_ddp_is_refused_once_and_all_end(start, job, elastic) -> None:
    args = [*job, "--trainer.devices=2", "--trainer.strategy=ddp", "--out", "run"]
    both = [start(args, elastic(rank, 2)) for rank in range(2)]
    assert [running.wait() for running in both] == [2, 2]
    first, second = (running.err.read_text() for running in both)
    assert first.startswith("decinv: error: Expected processes that do not wait for each other, but got DDPStrategy with 2; ")
    assert "--trainer.strategy independent" in first
    assert first.count("\n") == 1
    assert second == ""


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
def test_no_process_is_started_for_them(start, job, strategy) -> None:
    running = start([*job, "--trainer.devices=2", f"--trainer.strategy={strategy}", "--out", "run"])
    assert running.wait() == 2
    assert running.err.read_text().count("Expected processes that do not wait for each other") == 1


def test_a_trainer_in_python_is_refused_in_every_process_of_its_group(start, elastic) -> None:
    both = [start([], elastic(rank, 2), TRAINER) for rank in range(2)]
    assert [running.wait() for running in both] == [2, 2]
    for running in both:
        assert "True Expected processes that do not wait for each other" in running.out.read_text()


def test_ddp_with_one_process_is_fine(start, job) -> None:
    running = start([*job, "--trainer.strategy=ddp", "--out", "run"])
    assert running.wait() == 0, running.err.read_text()
