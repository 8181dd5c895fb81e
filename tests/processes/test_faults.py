"""Two hundred files, forty of them bad in every way: 160 results, 40 rows with reasons, and an exit status that says so."""

import csv
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

GOOD, BAD = 160, 40


def picture(seed: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def bomb(path) -> None:
    """A PNG of a few bytes that says it has 50,000 x 50,000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    framed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))


def truncated(path) -> None:
    picture(0).save(path)
    path.write_bytes(path.read_bytes()[:300])


def not_a_number(path) -> None:
    values = np.full((16, 16), np.nan, dtype=np.float32)
    Image.fromarray(values).save(path, format="TIFF")


def loop(path) -> None:
    path.symlink_to(path)


KINDS = {
    "truncated": (truncated, "broken"),
    "empty": (lambda path: path.touch(), "empty"),
    "bomb": (bomb, "more pixels than"),
    "text": (lambda path: path.write_text("no image at all"), "no image format"),
    "vanished": (lambda path: path.symlink_to(path.parent / "nowhere"), "no such file"),
    "loop": (loop, "Too many levels of symbolic links"),
    "pipe": (os.mkfifo, "no regular file"),
    "nan": (not_a_number, "[0, 1]"),
}


@pytest.fixture
def folder(tmp_path):
    """Good and bad files among each other, with names that are hard to write down, and the same ones in several folders."""
    root = tmp_path / "photos"
    names = ["plain", "new\nline", 'comma, "quote"', "猫 é", "tab\t", "-dash", "percent%s", "x" * 180]
    good, bad = set(), {}
    for index in range(GOOD):
        path = root / f"{index % 5}" / f"{names[index % 8]} {index // 40}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert not path.exists()
        picture(index, [(16, 16), (9, 12), (3, 5), (24, 16)][index % 4]).save(path)  # one is smaller than the codec's stride
        good.add(path.relative_to(root).as_posix())
    for index in range(BAD):
        kind = list(KINDS)[index % len(KINDS)]
        path = root / f"{index % 5}" / f"{kind} {index}.png"
        KINDS[kind][0](path)
        bad[path.relative_to(root).as_posix()] = KINDS[kind][1]
    return root, good, bad


@pytest.mark.parametrize("processes", [1, 2])
def test_bad_files_cost_nobody_else_anything(start, job, writer, elastic, folder, tmp_path, processes):
    root, good, bad = folder
    data = [f"--data={{class_path: ImageData, init_args: {{root: {root}, batch_size: 8}}}}"]
    kept = [option for option in job if not option.startswith("--data.")]
    index = kept.index("--data")
    options = [*kept[:index], *data, *kept[index + 2 :], writer, "--model.codec.stride=8", "--out", "run"]
    running = [start([*options, f"--data.shard={index}/{processes}"]) for index in range(processes)]
    assert [each.wait() for each in running] == [3] * processes, running[0].err.read_text()
    with (tmp_path / "run" / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert len(rows) == GOOD + BAD
    assert {name for name, row in rows.items() if row["latents"]} == good
    for name, reason in bad.items():
        assert rows[name]["status"] == "UNREADABLE"
        assert reason in rows[name]["reason"], rows[name]["reason"]
        assert "\n" not in rows[name]["reason"]
    assert len(list((tmp_path / "run" / "reconstructions").rglob("*.png"))) == GOOD
