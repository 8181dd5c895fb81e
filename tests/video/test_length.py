"""What containers say of their own length, to the byte."""

import pytest

from decinv.video.length import missing_bytes


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".avi"])
@pytest.mark.parametrize("missing", [0, 1, 300, 9000])
def test_each_missing_byte_is_known(film, tmp_path, suffix, missing):
    path = tmp_path / f"a{suffix}"
    film(path, 12)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - missing])
    assert missing_bytes(path) == missing


def test_a_gif_that_ends_within_an_image(film, tmp_path):
    """Of a GIF that lacks the byte at its end alone, as some programs write it, no image is missing."""
    path = tmp_path / "a.gif"
    film(path, 3, codec="gif", pixels="rgb8")
    content = path.read_bytes()
    for missing in (0, 1):
        path.write_bytes(content[: len(content) - missing])
        assert missing_bytes(path) == 0
    for missing in (2, 3, 100, len(content) // 2):
        path.write_bytes(content[: len(content) - missing])
        assert 1 <= missing_bytes(path) <= missing
    path.write_bytes(content + bytes(10))
    assert missing_bytes(path) == 0


def test_what_follows_the_video_is_nothing_missing(film, tmp_path):
    for name in ("a.mkv", "a.avi"):
        film(tmp_path / name, 3)
        with (tmp_path / name).open("ab") as file:
            file.write(b"RIFX and more")
        assert missing_bytes(tmp_path / name) == 0


def test_a_file_that_was_written_as_a_stream_does_not_say(film, tmp_path):
    path = tmp_path / "a.mkv"
    film(path, 12, container={"live": "1"})
    path.write_bytes(path.read_bytes()[:4000])
    assert missing_bytes(path) == 0
    (tmp_path / "a.avi").write_bytes(b"RIFF\xff\xff\xff\xffAVI ")
    assert missing_bytes(tmp_path / "a.avi") == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RI",
        b"RIFF",
        b"RIFF\x09\x00",
        b"\x1a\x45\xdf\xa3",
        b"\x1a\x45\xdf\xa3\x00\x00",
        b"\x1a\x45\xdf\xa3\x82ab\x00",
        b"GIF89a",
        b"GIF89a\x01\x00\x01\x00\x80",
        b"x",
    ],
)
def test_fragments_are_no_reason_to_fail(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert 0 <= missing_bytes(tmp_path / "a") <= 10
