"""Processes know which they are, and nothing of each other."""

import json
from pathlib import Path

import pytest

DESCRIBE = f"{Path(__file__).with_name('targets.py')}:describe"


def described(running) -> dict[str, object]:
    assert running.wait() == 0, running.err.read_text()
    return json.loads(running.out.read_text().splitlines()[-1])


ALONE = {"device": "cpu", "launcher": False, "requeue": False, "distributed": False, "wrapped": False, "threads": 1}


def test_one_process_needs_nothing_of_it(start, job) -> None:
    found = described(start([*job, "--out", "run"], target=DESCRIBE))
    assert found == {**ALONE, "rank": 0, "world": 1, "zero": True, "steps": found["steps"]}
    assert found["steps"] > 0


def test_processes_of_torchrun(start, job, elastic, tmp_path) -> None:
    args = [*job, "--trainer.devices=2", "--out", "run"]
    first = start(args, elastic(0, 2), DESCRIBE)
    assert described(first).items() >= {**ALONE, "rank": 0, "world": 2, "zero": True}.items()
    # The first one has long written its configuration, and is gone.
    saved = (tmp_path / "run" / "config.yaml").read_text()
    second = start(args, elastic(1, 2), DESCRIBE)
    assert described(second).items() >= {**ALONE, "rank": 1, "world": 2, "zero": False}.items()
    assert (tmp_path / "run" / "config.yaml").read_text() == saved
    assert "strategy: independent" in saved


def test_tasks_of_slurm(start, job, slurm) -> None:
    args = [*job, "--trainer.devices=2", "--trainer.num_nodes=3", "--out", "run"]
    found = described(start(args, slurm(5, 6, 3), DESCRIBE))
    assert found.items() >= {**ALONE, "rank": 5, "world": 6, "zero": False}.items()


def test_machines_that_are_numbered_by_hand(start, job) -> None:
    found = described(start([*job, "--trainer.num_nodes=2", "--out", "run"], {"NODE_RANK": "1"}, DESCRIBE))
    assert found.items() >= {**ALONE, "rank": 1, "world": 2}.items()


def test_the_number_of_processes_must_agree(start, job, elastic) -> None:
    running = start([*job, "--trainer.devices=1", "--out", "run"], elastic(0, 2))
    assert running.wait() == 2
    assert "Expected `trainer.devices` times `trainer.num_nodes` to be" in running.err.read_text()


@pytest.mark.parametrize(("option", "env"), [("--trainer.devices=2", "torchrun"), ("--trainer.num_nodes=2", "by hand")])
def test_processes_that_cannot_agree_on_a_directory_want_one(start, job, elastic, option, env, tmp_path) -> None:
    running = start([*job, option], elastic(0, 2) if env == "torchrun" else {"NODE_RANK": "0"})
    assert running.wait() == 2
    assert "Expected --out DIR, but got none" in running.err.read_text()
    assert not (tmp_path / "runs").exists()


def test_a_process_whose_launcher_is_gone_ends(start, endless) -> None:
    env = {"LOCAL_RANK": "1", "DECINV_LAUNCHER": "1", "DECINV_RUN_DIRECTORY": "run"}
    assert start([*endless, "--trainer.devices=2"], env).wait() == 143


def test_only_the_first_process_draws_and_prints(start, job, elastic, tmp_path) -> None:
    callbacks = ", ".join(
        f"{{class_path: {name}}}" for name in ("Memory", "Convergence", "Images", "InversionProgress", "Summary")
    )
    args = [*job, "--trainer.devices=2", "--trainer.enable_progress_bar=true", f"--trainer.callbacks=[{callbacks}]"]
    args += ["--trainer.logger=lightning.pytorch.loggers.TensorBoardLogger", "--trainer.logger.save_dir=", "--out=run"]
    second = start(args, elastic(1, 2))
    assert second.wait() == 0, second.err.read_text()
    assert second.out.read_text() == ""
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "inputs.jsonl"]
    first = start(args, elastic(0, 2))
    assert first.wait() == 0, first.err.read_text()
    assert first.out.read_text().startswith("process 0 of 2: 2/2 images, chunk 1, ")
    assert "converged" in first.out.read_text()
    assert {"convergence.png", "images"} <= {path.name for path in (tmp_path / "run").iterdir()}
