"""Reading the frames of a video file, or of a directory of images, exactly and one at a time.

The rules, for every container and codec that PyAV's libraries decode (mp4, mkv, webm, avi, gif are tested):

* Frames are numbered from 0 in the order in which they are shown. What a file marks as not to be shown is left out.
* A frame's time is its presentation time, counted from the first frame's, so variable frame rates are kept. A frame without one
  follows the one before at the file's mean rate.
* Rotation and mirroring that the file asks for are applied. Pixels are taken as square, interlaced frames as they are stored.
* Colours become RGB by the matrix and range that the file names, or BT.601 where it names none; chroma is enlarged bicubically.
  Transfer functions stay, so HDR is not mapped to standard range.
* 8-bit values v become ``v / 127.5 - 1``; deeper ones are taken at 16 bits, ``v / 32767.5 - 1``. Alpha is laid over white.
* Frames of RGB that was stored without loss come back bit by bit.
* What cannot be decoded is left out. A frame that the decoder calls damaged, or of another size than the first, is refused.
  The others are read. That a file was cut short is known where its container says how many frames (mp4) or bytes (Matroska,
  WebM, AVI, GIF) it has; others, and files that were written as a stream, just end. Of the frame within which it ends, nothing
  is given.
* A directory is a video whose frames are its images, in the order of their names with numbers by value, at a given rate.
"""

from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.images.reading import MAX_PIXELS
from decinv.ranges import refuse_below, refuse_not_above
from decinv.video.base import FrameReader, UnreadableVideoError
from decinv.video.clips import cut
from decinv.video.files import Decoding, FileReader
from decinv.video.folders import FolderReader, folder_images

FOLDER_FPS = 25.0
"""Frames a second of a directory of images, if nothing else is said."""


class Scan(NamedTuple):
    """What a look at all frames of a video finds.

    Attributes:
        times: When each readable frame is shown, in seconds from the first one's, not decreasing.
        damage: What is wrong with the file, as one sentence; empty if nothing is.
    """

    times: tuple[Fraction, ...]
    damage: str = ""


def open_frames(path: str | Path, max_pixels: int = MAX_PIXELS) -> FrameReader:
    """Open a video file or a directory of images.

    Args:
        path: The file or directory; see the module for the rules.
        max_pixels: Largest number of pixels of a frame that is given, at least 1.

    Raises:
        UnreadableVideoError: If there is none, or it is no video.
    """
    return FolderReader(path, max_pixels) if Path(path).is_dir() else FileReader(path, max_pixels)


def scan(path: str | Path, most: int | None = None, folder_fps: float = FOLDER_FPS) -> Scan:
    """Find out when each frame of a video is shown, by decoding it, which is the only way that is right for every file.

    Args:
        path: The file or directory.
        most: Largest number of frames to look at, at least 1; by default all.
        folder_fps: Frames a second of a directory of images, above 0.

    Returns:
        The times; none where nothing can be read, and then ``damage`` says why.
    """
    try:
        if Path(path).is_dir():
            count = len(folder_images(path)[:most])
            return Scan(tuple(number / Fraction(folder_fps).limit_denominator(100_000) for number in range(count)))
        with Decoding(path) as decoding:
            times = tuple(seconds for _, seconds in islice(decoding.frames(), most))
            return Scan(times, decoding.damage if most is None or len(times) < most else "")
    except UnreadableVideoError as error:
        return Scan((), str(error))


def read_clip(path: str | Path, length: int | None = None, start: int = 0, stride: int = 1, fps: float | None = None) -> Tensor:
    """Read one clip into memory.

    Args:
        path: A video file, or a directory of images.
        length: Frames of the clip, at least 1; by default all from ``start`` on.
        start: Frames, after ``stride`` and ``fps``, that are left out at the beginning, at least 0.
        stride: Take every ``stride``-th frame; at least 1.
        fps: Frames a second at which the video is seen, above 0; by default its own frames, as they are stored.

    Returns:
        The clip ``(3, T, H, W)``, float32 in [-1, 1], of fewer than ``length`` frames where the video ends.

    Raises:
        UnreadableVideoError: If the video has no such frame, or one is damaged.
        ValueError: If a number is out of range.
    """
    refuse_below(1, length=length, stride=stride)
    refuse_below(0, start=start)
    refuse_not_above(0, fps=fps)
    found = scan(path)
    moments = [moment for clip in cut("", found.times, None, stride, fps=fps) for moment in clip.moments]
    chosen = moments[start : None if length is None else start + length]
    if not chosen:
        raise UnreadableVideoError(found.damage or f"Expected a frame {start} in {str(path)!r}, but it has {len(moments)}.")
    with open_frames(path) as frames:
        return torch.stack([frames.read(moment.frame) for moment in chosen], dim=1)


def frame_size(path: str | Path) -> tuple[int, int] | None:
    """Give height and width of a video's frames; ``None`` where none can be read."""
    try:
        with open_frames(path) as frames:
            return frames.size()
    except UnreadableVideoError:
        return None
