"""The scripts for SLURM, with srun and scontrol played by ones that note what they are given."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "configs" / "cluster"
ARRAY = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16", "SLURM_JOB_ID": "4711", "SLURM_NNODES": "2"}


@pytest.fixture
def submit(tmp_path):
    """Run a script where srun ends with a status; give the script's status, and what srun and scontrol were given."""
    for name, status in (("srun", "$STATUS"), ("scontrol", "0")):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" > {tmp_path}/{name}.txt\nexit {status}\n')
        script.chmod(0o755)

    def run(name: str, status: int) -> tuple[int, str, str]:
        env = {**os.environ, **ARRAY, "STATUS": str(status), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", str(SCRIPTS / name), "runs/a b", "-c", "JOB.yaml"], env=env, check=False)
        noted = [
            path.read_text().strip() if path.exists() else "" for path in (tmp_path / "srun.txt", tmp_path / "scontrol.txt")
        ]
        return done.returncode, noted[0], noted[1]

    return run


def test_each_job_of_an_array_takes_its_part(submit) -> None:
    status, given, requeued = submit("array.sh", 0)
    assert (status, requeued) == (0, "")
    assert given == "python main.py fit -c JOB.yaml --data.shard 3/16 --out runs/a b"


def test_all_nodes_of_a_job_make_one_run(submit) -> None:
    status, given, _ = submit("nodes.sh", 0)
    assert status == 0
    assert given.endswith("python main.py fit -c JOB.yaml --trainer.num_nodes 2 --trainer.devices 8 --out runs/a b")
    assert "--ntasks-per-node=8" in (SCRIPTS / "nodes.sh").read_text()


@pytest.mark.parametrize("script", ["array.sh", "nodes.sh"])
@pytest.mark.parametrize(("status", "expected", "again"), [(138, 138, True), (143, 143, True), (3, 0, False), (2, 2, False)])
def test_jobs_that_were_asked_to_end_are_put_back(submit, script, status, expected, again) -> None:
    ended, _, requeued = submit(script, status)
    assert ended == expected
    assert requeued == ("requeue 4711" if again else "")


def test_scripts_are_bash() -> None:
    for path in SCRIPTS.glob("*.sh"):
        text = path.read_text()
        assert text.startswith("#!/bin/bash\n")
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
