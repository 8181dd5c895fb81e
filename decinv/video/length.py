"""How long a video file says it is, for containers that do not say how many frames they have."""

from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
"""The identifiers of the elements that a Matroska file begins with (RFC 8794, RFC 9559)."""

UNKNOWN = 2**32 - 1
"""The length of a RIFF part that was written as a stream."""


def missing_bytes(path: str | Path) -> int:
    """Give by how many bytes a file is shorter than it says; 0 where it does not say, or is whole.

    Matroska and WebM give the length of all that follows their header, unless they were written as a stream or never finished.
    AVI gives that of each of its parts.
    """
    length = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start == EBML:
            return max(0, _matroska_end(file) - length)
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
