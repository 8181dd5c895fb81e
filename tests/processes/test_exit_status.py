"""Exit statuses of runs that end by themselves."""

from pathlib import Path

import pytest
from PIL import Image

from decinv.cli.outcome import exit_status
from decinv.strategies.local import LocalProcesses

TARGETS = Path(__file__).with_name("targets.py")


@pytest.fixture
def photos(tmp_path, job):
    """A job on a folder with a good image and a broken one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.linear_gradient("L").resize((16, 16)).save(folder / "good.png")
    (folder / "broken.png").write_bytes(b"nothing")
    return [*job[: job.index("--data")], "--data=ImageData", f"--data.root={folder}", *job[-4:], "--out", "run"]


def test_all_well(start, job) -> None:
    running = start([*job, "--out", "run"])
    assert running.wait() == 0
    assert running.err.read_text() == ""


def test_some_images_failed(start, photos) -> None:
    assert start(photos).wait() == 3


@pytest.mark.parametrize("before", [["--data.shard=0/2"], ["--data.shard=1/2"]])
def test_images_that_failed_in_another_division_of_the_run_still_count(start, photos, writer, before) -> None:
    """The broken image is the first one, so only the first of two shares has it."""
    job = [*photos, writer, "--data.block=1"]
    statuses = [start([*job, *before]).wait(), start(job).wait(), start([*job, "--data.shard=1/2"]).wait()]
    assert statuses == [3 if before == ["--data.shard=0/2"] else 0, 3, 0]


def test_torchrun_would_end_the_others(start, photos, elastic) -> None:
    assert start(photos, elastic(0, 1)).wait() == 0


def test_bad_input(start, job) -> None:
    running = start([*job, "--data.size=4", "--out", "run"])
    assert running.wait() == 2
    assert running.err.read_text() == "decinv: error: Expected `size` to be at least 8, but got 4.\n"


def test_what_one_process_alone_may_meet_it_tells(start, job, writer, elastic) -> None:
    """A disk that is full, whoever started it; and all else where the process that started it has checked the options."""
    args = [*job, writer, "--trainer.devices=2"]
    small = [*args, "--data.size=4"]
    child = {"LOCAL_RANK": "1", "DECINV_RUN_DIRECTORY": "second"}
    runs = [
        (start([*args, "--out", "first"], elastic(1, 2), f"{TARGETS}:on_a_full_disk"), "No space left on device"),
        (start([*small, "--out", "second"], child, f"{TARGETS}:started_by_another"), "Expected `size` to be at least 8"),
        (start([*small, "--out", "third"], elastic(1, 2)), ""),
    ]
    for running, told in runs:
        assert running.wait() == 2
        assert told in running.err.read_text()
        assert bool(told) == bool(running.err.read_text())


@pytest.mark.parametrize(
    ("failed", "others", "status"),
    [(False, [0, 0], 0), (False, [0, 3], 3), (True, [0, 0], 3), (True, [3, -9], 1), (False, [2, 0], 1)],
)
def test_local_processes_end_as_the_worst_of_them(failed, others, status) -> None:
    launcher = LocalProcesses(3, 0)
    launcher.statuses = dict(enumerate(others, start=1))
    assert exit_status(failed, launcher) == status
