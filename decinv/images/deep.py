"""Sixteen-bit colour: Pillow has no such mode and keeps the high bytes; a second pass gives it the low ones."""

import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile

_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{'B' if (order == 'L' or (order == 'N' and sys.byteorder == 'little')) else 'L'}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order in "BLN"
}
"""Raw modes of 16-bit colour, which take one byte of each value, and the raw mode that takes the other byte."""


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Tell whether an opened file, not loaded yet, has 16-bit colour of which Pillow would keep 8 bits."""
    return bool(image.tile) and all(_raw_mode(tile.args) in _OTHER_BYTE for tile in image.tile)


def open_low_bytes(path: Path) -> ImageFile.ImageFile:
    """Open a file for which ``is_deep`` holds a second time, so that loading it gives the low byte of each value."""
    image = Image.open(path)
    image.tile = [tile._replace(args=_swap(tile.args)) for tile in image.tile]
    return image


def _raw_mode(args: Any) -> str:
    """Give the raw mode of a tile's arguments, which are the raw mode alone or a tuple that begins with it."""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _swap(args: Any) -> Any:
    other = _OTHER_BYTE[_raw_mode(args)]
    return (other, *args[1:]) if isinstance(args, tuple) else other
