"""How long a video file says it is, for containers that do not say how many frames they have."""

from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
"""The identifiers of the elements that a Matroska file begins with (RFC 8794, RFC 9559)."""

GIF = b"GIF8"
"""What a GIF begins with."""

UNKNOWN = 2**32 - 1
"""The length of a RIFF part that was written as a stream."""


def missing_bytes(path: str | Path) -> int:
    """Give by how many bytes, at least, a file is shorter than it says; 0 where it does not say, or is whole.

    Matroska and WebM give the length of all that follows their header, unless they were written as a stream or never finished.
    AVI gives that of each of its parts, and GIF that of each block of an image's data.
    """
    length = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start == EBML:
            return max(0, _matroska_end(file) - length)
        if start == GIF:
            return max(0, _gif_end(file) - length)
        return max(0, _riff_end(file, length) - length) if start == b"RIFF" else 0


def _matroska_end(file: BinaryIO) -> int:
    """Give where the first segment ends, 0 if that is not known."""
    while identifier := file.read(1):
        identifier += file.read(_leading_zeros(identifier[0]))
        first = file.read(1)
        if not first or not first[0]:
            return 0
        more = _leading_zeros(first[0])
        size = int.from_bytes(first + file.read(more)) & (1 << 7 * (more + 1)) - 1
        if size == (1 << 7 * (more + 1)) - 1:  # all ones: unknown
            return 0
        if identifier == SEGMENT:
            return file.tell() + size
        file.seek(size, 1)
    return 0


def _leading_zeros(byte: int) -> int:
    """Give the number of bytes that follow the first one of a number of variable length."""
    return 8 - byte.bit_length()


def _riff_end(file: BinaryIO, length: int) -> int:
    """Give where the last RIFF part ends that begins within the file."""
    end = 0
    while end < length and file.read(4) == b"RIFF":
        size = int.from_bytes(file.read(4), "little")
        if size == UNKNOWN:
            return 0
        end = file.tell() + size + size % 2
        file.seek(end)
    return end


def _gif_end(file: BinaryIO) -> int:
    """Give the least length that a GIF can have, from where it ends if that is within an image; 0 if it is whole."""
    file.seek(10)
    _skip_colours(file)
    file.seek(2, 1)
    while (begin := file.read(1)) in (b"\x2c", b"\x21"):  # an image, or what is said of one; all else ends the file
        if begin == b"\x2c":
            file.seek(8, 1)
            _skip_colours(file)
        file.seek(1, 1)
        while length := file.read(1):
            if not length[0]:
                break
            file.seek(length[0], 1)
        else:
            return file.tell() + 1
    return 0


def _skip_colours(file: BinaryIO) -> None:
    """Go behind the byte that says how many colours a GIF's table has, and behind the table."""
    size = file.read(1)
    if size and size[0] & 0x80:
        file.seek(3 << (size[0] & 7) + 1, 1)
