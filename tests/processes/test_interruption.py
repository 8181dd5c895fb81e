"""Signals end a run cleanly, with a sentence on how to go on."""

import signal
import time
from pathlib import Path

import pytest

TARGETS = Path(__file__).with_name("targets.py")


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)], ids=lambda value: str(value)
)
def test_a_signal_ends_the_run_in_one_sentence(start, endless, tmp_path, signum, status) -> None:
    running = start([*endless, "--out", "run"])
    running.until((tmp_path / "run" / "inputs.jsonl").exists)
    time.sleep(0.2)
    running.send(signum)
    assert running.wait(20) == status
    name = signal.Signals(signum).name
    assert running.err.read_text() == (f"decinv: interrupted by {name}; to go on, run the same command again with --out run.\n")


def test_under_slurm_too_without_checkpoints(start, endless, slurm, tmp_path) -> None:
    running = start([*endless, "--out", "run"], slurm(0, 1, 1))
    running.until((tmp_path / "run" / "inputs.jsonl").exists)
    time.sleep(0.2)
    running.send(signal.SIGUSR1)
    assert running.wait(20) == 138
    assert not list(tmp_path.rglob("*.ckpt"))


def test_before_the_run_began(start, job, tmp_path) -> None:
    running = start([*job, "--out", "run"], target=f"{TARGETS}:interrupted_early")
    assert running.wait() == 143
    assert running.err.read_text() == "decinv: interrupted by SIGTERM; the run had not begun.\n"


def test_a_second_ctrl_c_ends_at_once_and_other_signals_wait(start, endless, tmp_path) -> None:
    running = start([*endless, "--out", "run"], target=f"{TARGETS}:slow_to_end")
    running.until((tmp_path / "run" / "inputs.jsonl").exists)
    running.send(signal.SIGTERM)
    running.until((tmp_path / "ending").exists)
    running.send(signal.SIGTERM)
    time.sleep(0.3)
    assert running.process.is_alive()
    running.send(signal.SIGINT)
    assert running.wait(5) == 130


def test_what_is_done_is_kept_and_told_and_the_rest_made_later(start, job, writer, outcome, tmp_path) -> None:
    options = [*job, writer, "--data.count=40", "--data.batch_size=1", "--model.rtol=1e-6"]
    table = tmp_path / "run" / "tables" / "00000-of-00001.csv"
    running = start([*options, "--out", "run"])
    running.until(lambda: table.exists() and table.read_text().count(",latents/") >= 3)
    running.send(signal.SIGTERM)
    assert running.wait(20) == 143
    done = table.read_text().count(",latents/")
    assert 3 <= done < 40
    said = (
        f"decinv: interrupted by SIGTERM; {done} of 40 inputs are done; to go on, run the same command again with --out run.\n"
    )
    assert running.err.read_text() == said
    assert len(outcome(tmp_path / "run")[0]) == done
    again = start([*options, "--out", "run"])
    assert again.wait() == 0
    assert "40 of 40 inputs are done" in again.out.read_text()
    assert start([*options, "--out", "whole"]).wait() == 0
    assert outcome(tmp_path / "run")[0] == outcome(tmp_path / "whole")[0]
