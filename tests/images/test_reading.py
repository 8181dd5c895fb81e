"""Every format and rule of reading, against pixels that are known."""

import errno
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from decinv.images import UnreadableImageError, from_pil, read_image, read_size, reading

RGB = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY16 = np.random.default_rng(1).integers(0, 65536, (5, 7), dtype=np.uint16)
RGB16 = np.random.default_rng(2).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
RGBA16 = np.random.default_rng(3).integers(0, 65536, (5, 7, 4), dtype=np.uint16)


def expected(pixels, white=255):
    """The pixels ``(H, W, C)`` as a tensor in [-1, 1], computed in double precision."""
    pixels = np.asarray(pixels, np.float64)
    pixels = np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels
    return torch.from_numpy(2 * pixels / white - 1).permute(2, 0, 1).float()


def close(image, reference):
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    torch.testing.assert_close(image, reference, rtol=0, atol=3e-7)


def png(pixels, colour_type, extra=b""):
    """A 16-bit PNG of pixels ``(H, W)`` or ``(H, W, C)``, every row with the Sub filter, written by hand."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).astype(">u2").view(np.uint8)
    step = rows.shape[1] // width
    filtered = rows.copy()
    filtered[:, step:] -= rows[:, :-step]
    raw = b"".join(b"\x01" + row.tobytes() for row in filtered)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def transparent(*values):
    data = struct.pack(f">{len(values)}H", *values)
    return struct.pack(">I", len(data)) + b"tRNS" + data + struct.pack(">I", zlib.crc32(b"tRNS" + data))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.PNG", {}),
        ("a.webp", {"lossless": True}),
        ("a.tif", {}),
        ("a.tiff", {"compression": "tiff_lzw"}),
        ("a.bmp", {}),
        ("a.gif.png", {"format": "PPM"}),
    ],
)
def test_lossless_formats_are_exact(tmp_path, name, options):
    Image.fromarray(RGB).save(tmp_path / name, **options)
    image = read_image(tmp_path / name)
    assert image.dtype == torch.float32
    assert image.shape == (3, 12, 17)
    assert torch.equal(image, torch.from_numpy(RGB).permute(2, 0, 1).float() / 127.5 - 1)


@pytest.mark.parametrize(("name", "options"), [("a.jpg", {"quality": 95, "subsampling": 0}), ("a.webp", {"quality": 95})])
def test_lossy_formats_are_close(tmp_path, name, options):
    ramp = np.stack(np.broadcast_arrays(np.arange(0, 192, 4)[:, None], np.arange(40, 232, 4)[None], 90), -1).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / name, **options)
    assert (read_image(tmp_path / name) - expected(ramp)).abs().mean() < 2 * 3 / 255


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, format, orientation):
    """Row 0 and column 0 of the stored pixels are where the EXIF standard says that they are."""
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :16] = (255, 0, 0)  # top left
    stored[:8, 16:] = (0, 255, 0)  # top right
    stored[8:, :16] = (0, 0, 255)  # bottom left
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    Image.fromarray(stored).save(tmp_path / "a", format=format, exif=exif, **options)
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored.transpose(1, 0, 2)[:, ::-1],
        7: stored.transpose(1, 0, 2)[::-1, ::-1],
        8: stored.transpose(1, 0, 2)[::-1],
    }[orientation]
    torch.testing.assert_close(read_image(tmp_path / "a"), expected(upright), rtol=0, atol=0.05)


def test_orientation_of_sixteen_bits(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY16).save(tmp_path / "a.png", exif=exif)
    close(read_image(tmp_path / "a.png"), expected(GREY16.T[:, ::-1], 65535))


def test_grey_palette_and_black_and_white(tmp_path):
    Image.fromarray(RGB[..., 0]).save(tmp_path / "grey.png")
    close(read_image(tmp_path / "grey.png"), expected(RGB[..., 0]))

    palette = Image.new("P", (3, 1))
    palette.putpalette([10, 20, 30, 200, 100, 0, 255, 255, 254])
    palette.putdata([2, 0, 1])
    palette.save(tmp_path / "palette.png")
    close(read_image(tmp_path / "palette.png"), expected([[(255, 255, 254), (10, 20, 30), (200, 100, 0)]]))

    bits = Image.fromarray(np.array([[True, False], [False, True]]))
    bits.save(tmp_path / "bits.png")
    close(read_image(tmp_path / "bits.png"), expected([[255, 0], [0, 255]]))


def test_cmyk(tmp_path):
    ink = np.array([[(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255)]], np.uint8)
    Image.fromarray(ink, "CMYK").save(tmp_path / "a.tif")
    close(read_image(tmp_path / "a.tif"), expected([[(255, 255, 255), (0, 255, 255), (255, 0, 0), (0, 0, 0)]]))


def test_alpha_is_laid_over_white_without_rounding(tmp_path):
    colours = np.array([[(200, 100, 0, 255), (200, 100, 0, 0), (200, 100, 0, 51)]], np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    mixed = [(200 * 0.2 + 255 * 0.8), (100 * 0.2 + 255 * 0.8), 255 * 0.8]
    close(read_image(tmp_path / "a.png"), expected([[(200, 100, 0), (255, 255, 255), mixed]]))

    Image.fromarray(np.array([[(80, 255), (80, 0), (80, 102)]], np.uint8), "LA").save(tmp_path / "la.png")
    close(read_image(tmp_path / "la.png"), expected([[80, 255, 80 * 0.4 + 255 * 0.6]]))


def test_transparent_palette_entry_and_colour(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 0])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png", transparency=0)
    close(read_image(tmp_path / "p.png"), expected([[(255, 255, 255), (200, 100, 0)]]))
    palette.save(tmp_path / "p.gif", transparency=1)
    close(read_image(tmp_path / "p.gif"), expected([[(10, 20, 30), (255, 255, 255)]]))
    palette.save(tmp_path / "bytes.png", transparency=b"\xff\x33")  # Pillow warns of this one
    close(read_image(tmp_path / "bytes.png"), expected([[(10, 20, 30), (200 * 0.2 + 204, 100 * 0.2 + 204, 204)]]))

    Image.fromarray(np.array([[(1, 2, 3), (1, 2, 4)]], np.uint8)).save(tmp_path / "rgb.png", transparency=(1, 2, 3))
    close(read_image(tmp_path / "rgb.png"), expected([[(255, 255, 255), (1, 2, 4)]]))


@pytest.mark.parametrize(
    "mode", ["La", "RGBa", "PA", "LA", "RGBX", "HSV", "YCbCr", "LAB", "1", "L", "P", "I", "F", "I;16", "I;16B"]
)
def test_every_mode_of_pillow_is_converted(mode):
    image = from_pil(Image.new(mode, (4, 3)))
    assert image.shape == (3, 3, 4)
    assert image.isfinite().all()
    white = mode in ("La", "RGBa", "LA", "PA")
    if mode not in ("LAB", "YCbCr"):  # whose zero is a colour
        assert (image == (1 if white else -1)).all()


def test_sixteen_bit_grey_keeps_its_depth(tmp_path):
    Image.fromarray(GREY16).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(png(GREY16, 0))
    Image.fromarray(GREY16).save(tmp_path / "a.tif")
    Image.fromarray(GREY16.astype(np.int32)).save(tmp_path / "i.tif")
    Image.fromarray(GREY16.astype(">u2")).save(tmp_path / "big.tif")
    for name in ("a.png", "b.png", "a.tif", "i.tif", "big.tif"):
        close(read_image(tmp_path / name), expected(GREY16, 65535))


def test_sixteen_bit_transparent_grey(tmp_path):
    grey = np.array([[300, 301, 65535]], np.uint16)
    (tmp_path / "a.png").write_bytes(png(grey, 0, transparent(301)))
    close(read_image(tmp_path / "a.png"), expected([[300, 65535, 65535]], 65535))


def test_sixteen_bit_colour_keeps_its_depth(tmp_path):
    (tmp_path / "a.png").write_bytes(png(RGB16, 2))
    image = read_image(tmp_path / "a.png")
    close(image, expected(RGB16, 65535))
    assert not torch.equal(image, expected(RGB16 // 256 * 257, 65535))


def test_sixteen_bit_colour_with_alpha(tmp_path):
    (tmp_path / "a.png").write_bytes(png(RGBA16, 6))
    colour, alpha = RGBA16[..., :3].astype(float), RGBA16[..., 3:] / 65535
    close(read_image(tmp_path / "a.png"), expected(colour * alpha + 65535 * (1 - alpha), 65535))

    key = RGB16[2, 3]
    (tmp_path / "key.png").write_bytes(png(RGB16, 2, transparent(*key)))
    white = RGB16.copy()
    white[2, 3] = 65535
    close(read_image(tmp_path / "key.png"), expected(white, 65535))


def test_sixteen_bit_grey_with_alpha_is_read_at_8_bits(tmp_path):
    (tmp_path / "a.png").write_bytes(png(RGBA16[..., 2:], 4))
    grey, alpha = (RGBA16[..., 2:] >> 8).astype(float).transpose(2, 0, 1)
    close(read_image(tmp_path / "a.png"), expected(grey * alpha / 255 + 255 - alpha))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "adobe_deflate"])
def test_sixteen_bit_colour_tiff(tmp_path, order, compression):
    tifffile = pytest.importorskip("tifffile", reason="comes with scikit-image")
    if compression:  # tifffile needs another package to compress; TIFF strips are plain zlib streams
        data = zlib.compress(RGB16.astype(f"{order}u2").tobytes())
        layout = {"shape": RGB16.shape, "dtype": RGB16.dtype, "compression": 8, "rowsperstrip": 5}
        tifffile.imwrite(tmp_path / "a.tif", iter([data]), byteorder=order, photometric="rgb", **layout)
    else:
        tifffile.imwrite(tmp_path / "a.tif", RGB16, photometric="rgb", byteorder=order, rowsperstrip=2)
    close(read_image(tmp_path / "a.tif"), expected(RGB16, 65535))


def test_floats_between_0_and_1(tmp_path):
    grey = np.array([[0, 0.25, 1]], np.float32)
    Image.fromarray(grey).save(tmp_path / "a.tif")
    close(read_image(tmp_path / "a.tif"), expected(grey, 1))


@pytest.mark.parametrize("bad", [[0, 1.5], [-0.1, 1], [0, np.nan], [0, np.inf]])
def test_other_floats_are_refused(tmp_path, bad):
    Image.fromarray(np.array([bad], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImageError, match=r"floating-point pixels in .* instead of \[0, 1\]"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("bad", [[0, 65536], [-1, 5]])
def test_other_integers_are_refused(tmp_path, bad):
    Image.fromarray(np.array([bad], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImageError, match=rf"\[{min(bad)}, {max(bad)}\] instead of \[0, 65535\]"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame(tmp_path, format):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if format == "WEBP" else {}
    frames[0].save(tmp_path / "a", format=format, save_all=True, append_images=frames[1:], **options)
    close(read_image(tmp_path / "a"), expected(np.full((4, 4, 3), (255, 0, 0))))


def test_icc_is_ignored(tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(RGB).save(tmp_path / "a.png", icc_profile=profile)
    close(read_image(tmp_path / "a.png"), expected(RGB))


def test_broken_exif_does_not_matter(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")
    close(read_image(tmp_path / "a.png"), expected(RGB))


def test_from_pil_changes_nothing_and_applies_orientation():
    image = Image.fromarray(RGB)
    image.getexif()[0x0112] = 3
    close(from_pil(image), expected(RGB[::-1, ::-1]))
    assert image.getexif()[0x0112] == 3
    assert np.array_equal(np.asarray(image), RGB)


def unreadable(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """One path of each kind that cannot be read, with what its reason says."""
    Image.fromarray(RGB).save(tmp_path / "whole.png")
    Image.fromarray(RGB).resize((200, 200)).save(tmp_path / "whole.jpg", quality=95)
    kinds = {
        "missing": "no such file",
        "directory": "it is a directory",
        "empty": "it is empty",
        "text": "no image format",
        "truncated.png": "broken",
        "truncated.jpg": "truncated",
        "header.png": "no image format|broken",
        "noise.png": "broken",
        "large.png": r"40 x 30 pixels, more than the 1000 that are allowed; raise `max_pixels`",
        "bomb.png": "exceeds limit",
        "fifo": "no regular file",
        "no_pixel.ppm": "no pixel|no image format|broken",
        "x" * 300: "broken|[Nn]ame too long",
    }
    (tmp_path / "directory").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("not\nan\nimage")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:4000])
    (tmp_path / "header.png").write_bytes(whole[:20])
    (tmp_path / "noise.png").write_bytes(whole[:45] + np.random.default_rng(0).bytes(500))
    Image.new("L", (40, 30)).save(tmp_path / "large.png")
    (tmp_path / "bomb.png").write_bytes(png(np.zeros((1, 1), np.uint16), 0).replace(
        struct.pack(">II", 1, 1), struct.pack(">II", 30000, 30000)).replace(
        struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">IIBBBBB", 1, 1, 16, 0, 0, 0, 0))),
        struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">IIBBBBB", 30000, 30000, 16, 0, 0, 0, 0)))))  # fmt: skip
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "no_pixel.ppm").write_bytes(b"P6\n0 0\n255\n")
    return {name: (tmp_path / name, reason) for name, reason in kinds.items()}


def test_unreadable_files_say_why_in_one_line(tmp_path):
    for name, (path, reason) in unreadable(tmp_path).items():
        with pytest.raises(UnreadableImageError, match=reason) as caught:
            read_image(path, max_pixels=1000 if name == "large.png" else 100_000)
        text = str(caught.value)
        assert "\n" not in text, name
        assert text.startswith("Expected a readable image at "), name
        assert text.endswith("."), name
        assert not text.endswith(".."), name
    with pytest.raises(UnreadableImageError, match="null"):
        read_image("a\0b.png")
    with pytest.raises(UnreadableImageError, match=r"at 'two\\nlines.png'"):
        read_image("two\nlines.png")


def test_a_file_that_may_not_be_opened(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "a.png")

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)  # rather than chmod, which does not stop root
    with pytest.raises(UnreadableImageError, match="permission denied"):
        read_image(tmp_path / "a.png")


def test_the_largest_number_of_pixels_is_read(tmp_path):
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=1200).shape == (3, 30, 40)
    with pytest.raises(UnreadableImageError, match="1199"):
        read_image(tmp_path / "a.png", max_pixels=1199)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 are none
def test_the_size_in_the_header_is_that_of_the_turned_image(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", (40, 30)).save(file, exif=exif)
    assert read_size(file) == tuple(read_image(file).shape[1:]) == ((40, 30) if 5 <= orientation <= 8 else (30, 40))


def test_the_size_comes_from_the_header_alone(tmp_path):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (40, 30)).save(file)
    file.write_bytes(file.read_bytes()[:-20])
    assert read_size(file) == (30, 40)
    with pytest.raises(UnreadableImageError, match="40 x 30 pixels"):
        read_size(file, max_pixels=1199)
    file.write_bytes(b"")
    for path, why in ((file, "it is empty"), (tmp_path / "none.jpg", "no such file"), (tmp_path, "it is a directory")):
        with pytest.raises(UnreadableImageError, match=why):
            read_size(path)


def test_nothing_leaks(tmp_path, monkeypatch):
    """Pillow's warning about size stays inside, and its settings and the warning filters stay as they were."""
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 1200 pixels are warned of, 2001 are refused
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_image(tmp_path / "a.png").shape == (3, 30, 40)
    assert not caught
    assert warnings.filters == filters
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_an_interrupt_is_no_unreadable_image(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "a.png")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image, "open", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EMFILE])
def test_a_failure_of_the_system_that_passes_costs_no_image(tmp_path, monkeypatch, number):
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    opened, pauses, failures = Image.open, [], iter(())

    def flaky(*arguments):
        for _ in failures:
            raise OSError(number, os.strerror(number), str(path))
        return opened(*arguments)

    monkeypatch.setattr(Image, "open", flaky)
    monkeypatch.setattr(reading.time, "sleep", pauses.append)
    failures = iter(range(2))
    close(read_image(path), expected(RGB))
    failures = iter(range(1))
    assert read_size(path) == (12, 17)
    assert pauses == [0.2, 2.0, 0.2]
    failures = iter(range(3))
    with pytest.raises(UnreadableImageError, match=rf"the system failed to read it 3 times \({os.strerror(number)}\)\.$"):
        read_image(path)
    assert not list(failures)
    close(read_image(path), expected(RGB))


def test_what_does_not_pass_is_not_tried_again(tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(reading.time, "sleep", pauses.append)
    (tmp_path / "b.png").write_bytes(b"no image")
    for name in ("a.png", "b.png"):
        with pytest.raises(UnreadableImageError):
            read_image(tmp_path / name)
    assert not pauses
