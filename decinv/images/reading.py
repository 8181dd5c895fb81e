"""Reading an image file, or saying in one sentence why it cannot be read."""

import errno
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from decinv.images.deep import is_deep, open_low_bytes
from decinv.images.pixels import to_tensor

T = TypeVar("T")

MAX_PIXELS = 2**26
"""Largest number of pixels that is read by default: 8192 x 8192."""


SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
"""Files that count as images in a directory, in lower case; upper case counts too."""

PASSING = frozenset(
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "EAGAIN", "EBUSY", "ETIMEDOUT", "EMFILE", "ENFILE", "ENOMEM", "EREMOTEIO")
    if hasattr(errno, name)
)
"""What the system says of files that may be read a moment later, as on a file system across a network."""

PAUSES = (0.2, 2.0)
"""Seconds to wait before each further attempt then."""


class UnreadableImageError(ValueError):
    """A file is no image that can be read; the text is one sentence with the reason, on one line."""


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read an image file of any format that Pillow reads; PNG, JPEG, WebP and TIFF are tested.

    The rules:

    * The EXIF orientation is applied. ICC profiles are ignored.
    * Grey, black-and-white, palette, CMYK and other colours become RGB by Pillow's conversions.
    * An alpha channel, a transparent palette entry or a transparent colour is laid over white, without rounding.
    * 8-bit values v become ``v / 127.5 - 1``, and 16-bit values ``v / 32767.5 - 1``, grey and colour alike (16-bit grey
      with alpha is taken at 8 bits, as Pillow reads it). Integers outside [0, 65535] are refused.
    * Floating-point values v in [0, 1] become ``2 v - 1``; outside [0, 1] they are refused.
    * Of an animation or of several pages, the first is taken.

    A file that the system fails to read for a reason that may pass, such as a stale handle, is tried twice more.

    Args:
        path: The file.
        max_pixels: Largest number of pixels that is decoded, at least 1. Above twice ``PIL.Image.MAX_IMAGE_PIXELS``, Pillow's
            own bound holds.

    Returns:
        An image with shape ``(3, H, W)``, float32 in [-1, 1].

    Raises:
        UnreadableImageError: If there is no such file, or it is no image that these rules cover, or it is too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, and of sizes, which are checked here
            return _patiently(lambda: _read(Path(path), max_pixels))
    except Exception as error:  # decoders raise errors of any class when they meet broken files
        raise UnreadableImageError(f"Expected a readable image at {str(path)!r}, but {_reason(error)}.") from error


def read_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read from the header alone which height and width ``read_image`` would give.

    Args:
        path: The file.
        max_pixels: Largest number of pixels that would be decoded, at least 1.

    Returns:
        Height and width in pixels, with the EXIF orientation applied.

    Raises:
        UnreadableImageError: If there is no such file, or it is no image, or it is too large; what is wrong behind the header
            is not found.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in ``read_image``
            return _patiently(lambda: _read_size(Path(path), max_pixels))
    except Exception as error:  # as in ``read_image``
        raise UnreadableImageError(f"Expected a readable image at {str(path)!r}, but {_reason(error)}.") from error


def from_pil(image: Image.Image) -> Tensor:
    """Convert a Pillow image by the rules of ``read_image``.

    Args:
        image: An image of any mode; it is not changed.

    Returns:
        An image with shape ``(3, H, W)``, float32 in [-1, 1].

    Raises:
        UnreadableImageError: If the image cannot be loaded, or is none that the rules cover.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return to_tensor(ImageOps.exif_transpose(image))
    except Exception as error:  # as in ``read_image``
        raise UnreadableImageError(f"Expected a readable image, but {_reason(error)}.") from error


def _patiently(read: Callable[[], T]) -> T:
    for pause in PAUSES:
        try:
            return read()
        except OSError as error:
            if error.errno not in PASSING:
                raise
        time.sleep(pause)
    return read()


def _read(file: Path, max_pixels: int) -> Tensor:
    _check_file(file)
    with Image.open(file) as image:
        _check_pixels(image, max_pixels)
        if not is_deep(image):
            return to_tensor(ImageOps.exif_transpose(image))
        with open_low_bytes(file) as low_bytes:
            return to_tensor(ImageOps.exif_transpose(image), ImageOps.exif_transpose(low_bytes))


def _read_size(file: Path, max_pixels: int) -> tuple[int, int]:
    _check_file(file)
    with Image.open(file) as image:
        _check_pixels(image, max_pixels)
        # Pillow turns the size of a TIFF itself, before it is loaded.
        turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) in range(5, 9)
        return (image.width, image.height) if turned else (image.height, image.width)


def _check_file(file: Path) -> None:
    size = file.stat().st_size
    if not file.is_file():
        raise ValueError("it is a directory" if file.is_dir() else "it is no regular file")
    if not size:
        raise ValueError("it is empty")


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise Image.DecompressionBombError(
            f"it has {image.width} x {image.height} pixels, more than the {max_pixels} that are allowed; raise `max_pixels`"
        )


def _reason(error: Exception) -> str:
    """Say what an error means for the file, as the second half of a sentence."""
    match error:
        case FileNotFoundError():
            return "there is no such file"
        case PermissionError():
            return "it may not be opened (permission denied)"
        case UnidentifiedImageError():
            return "it is in no image format that Pillow reads, or in a variant that it does not"
        case OSError(errno=number) if number in PASSING:
            return f"the system failed to read it {len(PAUSES) + 1} times ({error.strerror})"
        case MemoryError():
            return "it does not fit into memory"
        case Image.DecompressionBombError() | ValueError() if str(error).startswith("it "):
            return str(error)
        case Image.DecompressionBombError():
            return f"it has more pixels than Pillow reads ({' '.join(str(error).split()).rstrip('.')})"
        case _:
            detail = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            return f"it is broken or in a variant that Pillow cannot read ({detail})"
