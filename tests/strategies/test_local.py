"""Local processes, played by ones that take no time to start; and one true launch of the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decinv.interruption import Interrupted
from decinv.strategies import local
from decinv.strategies.local import LocalProcesses

ROOT = Path(__file__).parents[2]
WAIT = "import time; time.sleep(60)"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch):
    """Let each further process run a piece of Python, which finds its number in LOCAL_RANK."""

    def prepare(code: str, count: int) -> LocalProcesses:
        code = f"import json, os, signal, sys; rank = int(os.environ['LOCAL_RANK']); {code}"
        monkeypatch.setattr(local, "_basic_subprocess_cmd", lambda: [sys.executable, "-S", "-c", code])
        prepared.append(LocalProcesses(count, node_rank=2))
        return prepared[-1]

    prepared: list[LocalProcesses] = []
    yield prepare
    for processes in prepared:
        for child in processes._children.values():
            child.kill()
            child.wait()


def test_processes_know_their_number_and_this_one_stays_as_it_is(play, tmp_path) -> None:
    names = "('LOCAL_RANK', 'NODE_RANK', 'DECINV_LAUNCHER')"
    before = dict(os.environ)
    processes = play(f"json.dump([os.environ[n] for n in {names}], open(r'{tmp_path}/%d' % rank, 'w'))", count=3)
    assert processes.launch(lambda: "own part") == "own part"
    processes.wait(report=True)
    assert processes.statuses == {1: 0, 2: 0}
    for rank in (1, 2):
        assert json.loads((tmp_path / str(rank)).read_text()) == [str(rank), "2", str(os.getpid())]
    assert dict(os.environ) == before


def test_who_dies_is_named_and_takes_no_other_along(play, capfd, tmp_path) -> None:
    code = f"os.kill(os.getpid(), 9) if rank == 1 else sys.exit(rank) if rank > 1 else 0; open(r'{tmp_path}/%d' % rank, 'w')"
    processes = play(f"import time; rank == 1 or time.sleep(0.3); {code}", count=5)
    processes.launch(lambda: None)
    processes.wait(report=True)
    processes.wait(report=True)
    assert processes.statuses == {1: -9, 2: 2, 3: 3, 4: 4}
    assert capfd.readouterr().err == (
        "decinv: error: 3 of 5 processes did not finish: process 1 ended by SIGKILL, process 2 with exit status 2, "
        "process 4 with exit status 4; run the same command again, with --out and the run directory: what is done is kept.\n"
    )


def test_an_interruption_is_passed_on(play) -> None:
    def interrupted() -> None:
        raise Interrupted(signal.SIGINT)

    processes = play(WAIT, count=3)
    with pytest.raises(Interrupted):
        processes.launch(interrupted)
    processes.wait(report=False)
    assert processes.statuses == {1: -signal.SIGTERM, 2: -signal.SIGTERM}


def test_an_interruption_while_waiting_is_passed_on(play, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    processes = play(WAIT, count=3)
    processes.launch(lambda: None)

    def interrupted(self: subprocess.Popen) -> int:
        raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "wait", interrupted)
        with pytest.raises(Interrupted):
            processes.wait(report=True)
    processes.wait(report=False)
    assert processes.statuses == {1: -signal.SIGTERM, 2: -signal.SIGTERM}
    assert capfd.readouterr().err == ""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


HELPER = """Traceback (most recent call last):
  File "<string>", line 1, in <module>
BrokenPipeError: [Errno 32] Broken pipe
"""
"""What the Python says that a library of jsonargparse's asks for its path, if the one that reads options ends meanwhile."""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")
def test_the_command_line_starts_its_processes_and_ends_with_them(tmp_path) -> None:
    args = [
        *("fit", "-c", str(ROOT / "configs" / "decoder_inversion.yaml")),
        *("--model.codec", str(ROOT / "configs" / "codec" / "linear.yaml")),
        *("--data", str(ROOT / "configs" / "data" / "generated.yaml"), "--data.count=100000", "--data.size=16"),
        *("--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.callbacks=[]", "--trainer.devices=2"),
        "--trainer.enable_progress_bar=false",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "main.py"), *args]
    first = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 90
        while not list(tmp_path.glob("runs/*/config.yaml")) and time.monotonic() < deadline:
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.1)
        (second,) = children(first.pid)
        while not _catches(second, signal.SIGTERM):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        first.send_signal(signal.SIGTERM)
        _, error = first.communicate(timeout=60)
    finally:
        first.kill()
    (directory,) = tmp_path.glob("runs/*")
    assert first.returncode == 143
    assert error.replace(HELPER, "") == (
        f"decinv: interrupted by SIGTERM; to go on, run the same command again with --out {directory.relative_to(tmp_path)}.\n"
    )
    deadline = time.monotonic() + 30  # on a busy machine its end is seen a little later
    while Path(f"/proc/{second}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{second}").exists()


def _catches(pid: int, signum: int) -> bool:
    """Whether a process has a handler of its own for a signal, as it has once it runs the command line."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(mask >> (signum - 1) & 1)
