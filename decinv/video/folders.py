"""The images of a directory as the frames of a video."""

import re
from pathlib import Path

from torch import Tensor

from decinv.images.reading import MAX_PIXELS, SUFFIXES, UnreadableImageError, read_image, read_size
from decinv.video.base import FrameReader, UnreadableVideoError


class FolderReader(FrameReader):
    """The images of a directory as the frames of a video."""

    def __init__(self, path: str | Path, max_pixels: int = MAX_PIXELS) -> None:
        """List the images.

        Raises:
            UnreadableVideoError: If there is none, or it cannot be listed.
        """
        self.images = folder_images(path)
        self.path = path
        self.max_pixels = max_pixels
        self._size: tuple[int, int] | None = None

    def read(self, number: int) -> Tensor:
        """Read an image."""
        if number >= len(self.images):
            raise UnreadableVideoError(f"Expected a frame {number} in {str(self.path)!r}, but it has {len(self.images)}.")
        try:
            image = read_image(self.images[number], self.max_pixels)
        except UnreadableImageError as error:
            raise UnreadableVideoError(str(error)) from error
        height, width = self.size()
        if tuple(image.shape[1:]) != (height, width):
            raise UnreadableVideoError(
                f"Expected frames of one size in {str(self.path)!r}, but {self.images[number].name} has {image.shape[1]} x "
                f"{image.shape[2]} instead of {height} x {width}."
            )
        return image

    def size(self) -> tuple[int, int]:
        """Give the size of the first image that has one."""
        for file in self.images if self._size is None else ():
            try:
                self._size = read_size(file, self.max_pixels)
                break
            except UnreadableImageError:
                continue
        if self._size is None:
            raise UnreadableVideoError(f"Expected images in {str(self.path)!r}, but none of its files can be read.")
        return self._size

    def close(self) -> None:
        """Do nothing: no file stays open."""


def folder_images(path: str | Path) -> list[Path]:
    """List the images of a directory, hidden ones left out, by their names, in which numbers count by their value.

    Raises:
        UnreadableVideoError: If there is none, or the directory cannot be listed.
    """
    try:
        files = list(Path(path).iterdir())
    except OSError as error:
        raise UnreadableVideoError(f"Expected a directory of images at {str(path)!r}, but got: {error.strerror}.") from error
    found = (file for file in files if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    images = sorted((file for file in found if not file.is_dir()), key=_natural)
    if not images:
        raise UnreadableVideoError(f"Expected a directory of images, but there is none in {str(path)!r}.")
    return images


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", file.name)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts], file.name
