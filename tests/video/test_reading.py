"""Frames of every container come back exactly, and damage costs only what is damaged."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from decinv.memory import PeakMemory
from decinv.video import UnreadableVideoError, open_frames, read_clip, scan
from decinv.video.reading import frame_size

SUFFIXES = [".mkv", ".avi", ".mp4", ".webm"]


def levels(image):
    """Give an image in [-1, 1] as a picture of 8 bits, which it must be."""
    values = image.double() * 127.5 + 127.5
    assert (values - values.round()).abs().max() < 1e-4
    return values.round().byte().permute(1, 2, 0).numpy()


def frames(path, numbers):
    with open_frames(path) as reader:
        return [levels(reader.read(number)) for number in numbers]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lossless_files_give_identical_pixels(film, tmp_path, suffix):
    written = film(tmp_path / f"a{suffix}", 9)
    assert len(scan(tmp_path / f"a{suffix}").times) == 9
    for number, frame in enumerate(frames(tmp_path / f"a{suffix}", range(9))):
        assert np.array_equal(frame, written[number])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_frames_of_64_at_a_variable_rate(film, tmp_path, suffix):
    """The frames asked for, by number and by time, in any order, with repeats."""
    path = tmp_path / f"a{suffix}"
    steps = np.random.default_rng(0).integers(5, 120, 63)
    times = np.concatenate([[0], steps.cumsum()]).tolist()
    written = film(path, 64, times)
    assert scan(path) == (tuple(Fraction(time, 1000) for time in times), "")
    for number, frame in zip((3, 3, 40, 63, 10, 11, 0), frames(path, (3, 3, 40, 63, 10, 11, 0)), strict=True):
        assert np.array_equal(frame, written[number])
    clip = read_clip(path, length=8, start=2, fps=5.0)
    for place in range(8):
        asked = 200 * (place + 2)
        shown = max(number for number, time in enumerate(times) if time <= asked)
        assert np.array_equal(levels(clip[:, place]), written[shown])


def test_every_which_frame(film, tmp_path):
    written = film(tmp_path / "a.mkv", 9)
    clip = read_clip(tmp_path / "a.mkv", length=3, start=1, stride=2)
    assert np.array_equal(np.stack([levels(frame) for frame in clip.unbind(1)]), written[2:7:2])
    assert read_clip(tmp_path / "a.mkv", start=5).shape == (3, 4, 12, 20)
    with pytest.raises(UnreadableVideoError, match=r"a frame 9 in .* has 9"):
        read_clip(tmp_path / "a.mkv", start=9)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"length": 0}, "`length` to be at least 1, but got 0"),
        ({"length": 2, "start": -3}, "`start` to be at least 0, but got -3"),
        ({"stride": 0}, "`stride` to be at least 1, but got 0"),
        ({"fps": 0.0}, "`fps` to be above 0, but got 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(film, tmp_path, options, sentence):
    film(tmp_path / "a.mkv", 4)
    with pytest.raises(ValueError, match=sentence):
        read_clip(tmp_path / "a.mkv", **options)


def test_times_begin_with_the_first_frame(film, tmp_path):
    film(tmp_path / "a.mkv", 3, [500, 540, 700])
    assert scan(tmp_path / "a.mkv").times == (0, Fraction(1, 25), Fraction(1, 5))


def test_b_frames_come_in_the_order_in_which_they_are_shown(film, tmp_path):
    """A grey ramp, which H.264 with three B-frames stores in another order, and with loss."""
    ramp = np.repeat(np.arange(0, 240, 8, dtype=np.uint8), 16 * 16 * 3).reshape(-1, 16, 16, 3)
    film(tmp_path / "a.mp4", ramp, codec="libx264", pixels="yuv420p", options={"x264-params": "bframes=3:b-adapt=0:scenecut=0"})
    with av.open(str(tmp_path / "a.mp4")) as file:
        stored = [packet.pts for packet in file.demux(video=0) if packet.size]
    assert stored != sorted(stored)
    clip = read_clip(tmp_path / "a.mp4")
    means = (clip.mean((0, 2, 3)) * 127.5 + 127.5).tolist()
    assert means == pytest.approx(list(range(0, 240, 8)), abs=2)


def test_gif(tmp_path):
    """Another writer's file: Pillow's, with frames of different durations, and a transparent one."""
    colours = [(200, 30, 40), (10, 220, 60), (0, 0, 0), (250, 250, 10)]
    pictures = [Image.new("RGB", (10, 6), colour) for colour in colours]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[100, 50, 300, 20])
    assert scan(tmp_path / "a.gif").times == (0, Fraction(1, 10), Fraction(3, 20), Fraction(9, 20))
    for frame, colour in zip(frames(tmp_path / "a.gif", range(4)), colours, strict=True):
        assert (frame == colour).all()
    clear = Image.new("RGBA", (10, 6), (200, 30, 40, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 5, 6))
    clear.save(tmp_path / "clear.gif")
    (frame,) = frames(tmp_path / "clear.gif", [0])
    assert (frame[:, :5] == 255).all()
    assert (frame[:, 5:] == (200, 30, 40)).all()


MATRIX_COEFFICIENTS = {None: (0.299, 0.114), 1: (0.2126, 0.0722), 6: (0.299, 0.114)}
"""Weights of red and blue in luma by the number that ITU-T H.273 gives a matrix: BT.601 where there is none, BT.709, BT.601."""


@pytest.mark.parametrize("matrix", MATRIX_COEFFICIENTS)
@pytest.mark.parametrize("full", [False, True])
def test_colours_by_the_matrix_and_the_range_of_the_file(film, tmp_path, matrix, full):
    """Y = kr R + kg G + kb B, U = (B - Y) / (2 - 2 kb), V = (R - Y) / (2 - 2 kr), solved for R, G and B."""
    y, u, v = 120, 90, 180
    planes = np.stack([np.full((16, 16), value, np.uint8) for value in (y, u, v)])
    tags = {} if matrix is None else {"colorspace": matrix}
    film(tmp_path / "a.mkv", planes[None], codec="ffv1", pixels="yuv444p", layout="yuv444p", color_range=1 + full, **tags)
    kr, kb = MATRIX_COEFFICIENTS[matrix]
    luma = y / 255 if full else (y - 16) / 219
    blueness, redness = ((value - 128) / (255 if full else 224) for value in (u, v))
    red, blue = luma + 2 * (1 - kr) * redness, luma + 2 * (1 - kb) * blueness
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    found = (read_clip(tmp_path / "a.mkv")[:, 0] * 127.5 + 127.5).mean((1, 2)).tolist()
    assert found == pytest.approx([255 * value for value in (red, green, blue)], abs=0.7)


def test_ten_bits_are_kept(film, tmp_path):
    deep = np.random.default_rng(0).integers(0, 1024, (1, 8, 8, 3), dtype=np.uint16)
    film(tmp_path / "a.mkv", deep << 6, codec="ffv1", pixels="gbrp10le", layout="rgb48le")
    image = read_clip(tmp_path / "a.mkv")[:, 0]
    assert torch.allclose((image + 1) * 511.5, torch.from_numpy(deep[0].astype(np.float32)).permute(2, 0, 1), atol=0.6)
    assert ((image + 1) * 127.5 % 1 > 0.1).any()


def test_ten_bits_of_other_colours(film, tmp_path):
    """A grey ramp: limited range is stretched as with 8 bits, and its steps are finer than theirs."""
    ramp = np.broadcast_to(np.linspace(0, 65535, 64)[None, :, None], (16, 64, 3)).round().astype(np.uint16)
    film(tmp_path / "a.mkv", ramp[None], codec="ffv1", pixels="yuv420p10le", layout="rgb48le")
    image = read_clip(tmp_path / "a.mkv")[:, 0]
    assert (image - torch.from_numpy(ramp.astype(np.float32)).permute(2, 0, 1) / 32767.5 + 1).abs().max() < 2 / 500


def test_alpha_is_laid_over_white(film, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 4), dtype=np.uint8)
    film(tmp_path / "a.mkv", pixels, codec="ffv1", pixels="bgra", layout="rgba")
    colour, alpha = pixels[0, ..., :3] / 127.5 - 1, pixels[0, ..., 3:] / 255
    expected = torch.from_numpy(colour * alpha + 1 - alpha).permute(2, 0, 1).float()
    torch.testing.assert_close(read_clip(tmp_path / "a.mkv")[:, 0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_alpha_of_webm_is_laid_over_white(film, tmp_path, codec):
    """Black, and opaque to a degree that grows from frame to frame."""
    alpha = np.array([0, 85, 170, 255])
    pixels = np.zeros((4, 16, 16, 4), dtype=np.uint8)
    pixels[..., 3] = alpha[:, None, None]
    film(tmp_path / "a.webm", pixels, codec=codec, pixels="yuva420p", layout="rgba", options={"auto-alt-ref": "0"})
    clip = read_clip(tmp_path / "a.webm")
    assert clip.shape == (3, 4, 16, 16)
    assert (clip.mean((0, 2, 3)) - torch.from_numpy(1 - alpha / 127.5)).abs().max() < 0.02


ONE = 1 << 16
MATRICES = {
    "a quarter to the right": ((0, ONE, -ONE, 0), lambda x: np.rot90(x, -1)),
    "a quarter to the left": ((0, -ONE, ONE, 0), lambda x: np.rot90(x)),
    "half": ((-ONE, 0, 0, -ONE), lambda x: np.rot90(x, 2)),
    "mirrored": ((-ONE, 0, 0, ONE), lambda x: x[:, ::-1]),
    "upside down": ((ONE, 0, 0, -ONE), lambda x: x[::-1]),
    "transposed": ((0, ONE, ONE, 0), lambda x: x.transpose(1, 0, 2)),
}


@pytest.mark.parametrize("turn", MATRICES)
def test_rotation_and_mirroring_that_the_file_asks_for(film, tmp_path, turn):
    """The matrix of ISO 14496-12 in the track's header: (p, q) is shown at (a p + c q, b p + d q)."""
    path = tmp_path / "a.mp4"
    written = film(path, 2)
    (a, b, c, d), turned = MATRICES[turn]
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    assert np.array_equal(frames(path, [1])[0], turned(written[1]))
    assert frame_size(path) == turned(written[1]).shape[:2]


def test_a_directory_of_images(tmp_path):
    (tmp_path / "shot1.png").touch()
    for number in (10, 9, 2):
        Image.new("RGB", (6, 4), (number, 0, 0)).save(tmp_path / f"shot{number}.png")
    Image.new("RGB", (6, 5)).save(tmp_path / "shot11.png")
    (tmp_path / "shot3.png").write_text("no image")
    (tmp_path / "note.txt").touch()
    assert scan(tmp_path, folder_fps=10).times == tuple(Fraction(number, 10) for number in range(6))
    with open_frames(tmp_path) as reader:
        assert [levels(reader.read(number))[0, 0, 0] for number in (4, 1, 3)] == [10, 2, 9]
        with pytest.raises(UnreadableVideoError, match=r"shot3\.png"):
            reader.read(2)
        with pytest.raises(UnreadableVideoError, match="it is empty"):
            reader.read(0)
        with pytest.raises(UnreadableVideoError, match=r"one size .* shot11\.png has 5 x 6 instead of 4 x 6"):
            reader.read(5)
    assert frame_size(tmp_path) == (4, 6)


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".avi"])
def test_of_a_truncated_file_the_first_frames_and_what_is_wrong(film, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    written = film(path, 20)
    assert scan(path).damage == ""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    times, damage = scan(path)
    assert 5 <= len(times) <= 12
    assert damage.startswith(f"Expected a whole, readable video at '{path}', but ")
    for number, frame in enumerate(frames(path, range(len(times)))):
        assert np.array_equal(frame, written[number])
    with open_frames(path) as reader, pytest.raises(UnreadableVideoError, match="Expected a whole, readable video"):
        reader.read(19)
    assert scan(path, most=3) == (times[:3], "")


def test_of_a_truncated_mp4_the_first_frames_and_what_is_wrong(film, tmp_path):
    path = tmp_path / "a.mp4"
    written = film(path, 20, container={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    times, damage = scan(path)
    assert 5 <= len(times) <= 12
    assert damage.startswith(f"Expected a whole, readable video at '{path}', but ")
    assert damage.count("\n") == 0
    for number, frame in enumerate(frames(path, range(len(times)))):
        assert np.array_equal(frame, written[number])
    with open_frames(path) as reader, pytest.raises(UnreadableVideoError, match="Expected a whole, readable video"):
        reader.read(19)
    assert scan(path, most=3) == (times[:3], "")


def test_of_a_damaged_file_the_other_frames(film, tmp_path):
    """One packet's data are overwritten; frames that depend on none are given, and nothing else is given for them."""
    path = tmp_path / "a.mp4"
    written = film(path, 12, options={"qp": "0", "g": "1"})
    with av.open(str(path)) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][5]
        start, size = packet.pos, packet.size
    content = bytearray(path.read_bytes())
    content[start + 60 : start + size] = bytes(size - 60)
    path.write_bytes(content)
    seen = 0
    with open_frames(path) as reader:
        for number, time in enumerate(scan(path).times):
            try:
                frame = levels(reader.read(number))
            except UnreadableVideoError as error:
                assert "damaged" in str(error)  # noqa: PT017 (either outcome is right)
                continue
            assert np.array_equal(frame, written[int(time * 25)])
            seen += 1
    assert seen == 11


@pytest.mark.parametrize(("suffix", "codec", "pixels"), [(".gif", "gif", "rgb8"), (".avi", "huffyuv", "rgb24")])
def test_of_a_file_that_ends_within_a_frame_no_part_of_it(film, tmp_path, suffix, codec, pixels):
    """Decoders give such a part, below which the frame before is seen."""
    path = tmp_path / f"a{suffix}"
    film(path, 6, codec=codec, pixels=pixels, options={})
    assert scan(path).damage == ""
    whole, content = frames(path, range(6)), path.read_bytes()
    with av.open(str(path)) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][4]
    for part in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(packet.pos + part * packet.size)])
        times, damage = scan(path)
        assert len(times) == 4
        assert damage == f"Expected a whole, readable video at '{path}', but packet 5 is cut short."
        assert all(np.array_equal(frame, whole[number]) for number, frame in enumerate(frames(path, range(4))))


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "it is empty"), (b"no video", "it is broken, or in a format"), (None, "no such file")]
)
def test_what_is_no_video_is_told_in_one_sentence(tmp_path, content, reason):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    times, damage = scan(path)
    assert times == ()
    assert reason in damage
    with pytest.raises(UnreadableVideoError, match=reason):
        open_frames(path)
    assert frame_size(path) is None


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert "it has no video stream" in scan(tmp_path / "a.wav").damage


def test_a_codec_that_nothing_decodes(film, tmp_path):
    """As an encrypted file's, whose decoder there is none of."""
    path = tmp_path / "a.mkv"
    film(path, 2)
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_NONE").replace(b"FFV1", b"NONE"))
    assert scan(path).damage.endswith(f"at '{path}', but it is in a codec that is not known, or encrypted.")
    with pytest.raises(UnreadableVideoError, match="codec that is not known"):
        open_frames(path)


def test_large_frames_are_refused(film, tmp_path):
    film(tmp_path / "a.mkv", 1)
    with open_frames(tmp_path / "a.mkv", max_pixels=239) as reader, pytest.raises(UnreadableVideoError, match="at most 239"):
        reader.read(0)


def test_a_film_is_read_in_a_stream(film, tmp_path):
    """No more than a few frames are alive at any time, of a clip of 40."""
    picture = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    film(tmp_path / "a.mkv", np.repeat(picture, 40, axis=0))
    with open_frames(tmp_path / "a.mkv") as reader, PeakMemory("cpu") as peak:
        for number in range(40):
            reader.read(number)
    assert 96 * 96 * 3 * 4 <= peak.bytes < 6 * 96 * 96 * 3 * 4
