"""Frames of films, divided among processes that are killed: started again, the run ends as if nothing had happened."""

import random
import signal
import time

import numpy as np
import pytest
import torch

from decinv.runs.latents import names_in, read_latent

WRITER = '{"class_path": "ClipWriter", "init_args": {"preview": false, "lossless": true}}'
CALLBACKS = f'--trainer.callbacks=[{{"class_path": "ResultWriter"}}, {WRITER}]'


@pytest.fixture
def films(film, tmp_path):
    """Three films, of which one is damaged and one is none."""
    folder = tmp_path / "films"
    folder.mkdir()
    for name, count in (("a.mkv", 14), ("b.avi", 5)):
        film(folder / name, np.random.default_rng(count).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8))
    film(folder / "c.mp4", 10, container={"movflags": "faststart"})
    (folder / "c.mp4").write_bytes((folder / "c.mp4").read_bytes()[:-2000])
    (folder / "d.mp4").write_text("no video")
    return folder


@pytest.mark.parametrize("moment", range(2))
def test_the_clips_are_those_of_an_uninterrupted_run(start, job, films, outcome, tmp_path, moment):
    choose = random.Random(moment)
    options = [option for option in job if not option.startswith("--data.")]
    place = options.index("--data")
    data = f"--data={{class_path: VideoData, init_args: {{root: {films}, batch_size: 2, clip_length: 10, block: 4}}}}"
    short = "--model.max_iters=6"
    options = [*options[:place], data, *options[place + 2 :], short, CALLBACKS]
    began = time.monotonic()
    assert start([*options, "--out", "whole"]).wait() == 3
    seconds = time.monotonic() - began

    processes = 1 + moment % 2
    running = [start([*options, f"--data.shard={index}/{processes}", "--out", "run"]) for index in range(processes)]
    time.sleep(choose.uniform(0.2, 1) * seconds)
    victim = choose.choice(running)
    if victim.process.is_alive():
        victim.send(signal.SIGKILL)
    for each in running:
        assert each.wait() in (3, 0, -signal.SIGKILL), each.err.read_text()
    assert start([*options, "--out", "run"]).wait() == 3

    (rows, latents), (expected, expected_latents) = outcome(tmp_path / "run"), outcome(tmp_path / "whole")
    assert rows == expected
    assert all(torch.equal(latents[name], expected_latents[name]) for name in expected_latents)
    assert {row["name"] for row in rows if row["status"] == "UNREADABLE"} == {"c.mp4-damage", "d.mp4"}
    clips = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole" / "clips").iterdir())
    assert clips == sorted(path.relative_to(tmp_path / "run") for path in (tmp_path / "run" / "clips").glob("[!.]*"))
    for path in clips:
        if path.suffix == ".safetensors":
            (name,) = names_in(tmp_path / "whole" / path)
            assert torch.equal(read_latent(tmp_path / "run" / path, name), read_latent(tmp_path / "whole" / path, name))
        else:
            assert (tmp_path / "run" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()
