"""Exit statuses of runs that end by themselves."""

import pytest
from PIL import Image


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


def test_torchrun_would_end_the_others(start, photos, elastic) -> None:
    assert start(photos, elastic(0, 1)).wait() == 0


def test_bad_input(start, job) -> None:
    running = start([*job, "--data.count=0", "--out", "run"])
    assert running.wait() == 2
    assert running.err.read_text() == "decinv: error: Expected `count` to be at least 1, but got 0.\n"
