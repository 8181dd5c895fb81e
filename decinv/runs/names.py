"""File names for samples of any name."""

from hashlib import sha256
from pathlib import PurePosixPath

LONGEST_NAME = 200
"""Bytes that a file's name may have, of the 255 that common file systems take."""

LONGEST_PATH = 800
"""Bytes that it may have with its folders: systems take 4096 with those above, and Python makes no thousand folders at once."""

SUFFIXES = frozenset((".png", ".csv", ".safetensors"))
"""What is written for a sample has one of these after its name, so that no folder may."""


def safe_name(name: str) -> str:
    """Give a relative path below the current directory for a sample's name: the name itself wherever it is one.

    Args:
        name: Any text; ``/`` separates folders.

    Returns:
        ``name``, or a name that is changed where needed and ends with the first 8 digits of the name's SHA-256, so that
        different names stay different.
    """
    parts = [part for part in PurePosixPath(name.replace("\0", "")).parts if part not in ("/", "//", "..")]
    parts = [part.encode("utf-8", "replace")[:LONGEST_NAME].decode("utf-8", "ignore") for part in parts]
    parts[:-1] = [f"{part}_" if PurePosixPath(part).suffix in SUFFIXES else part for part in parts[:-1]]
    while len("/".join(parts).encode()) > LONGEST_PATH:
        del parts[0]
    safe = "/".join(parts)
    if safe == name and safe:
        return name
    return f"{safe or 'sample'}-{sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
