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
  The others are read.
* A directory is a video whose frames are its images, in the order of their names with numbers by value, at a given rate.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import av
import torch
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from torch import Tensor

from decinv.images.reading import MAX_PIXELS, SUFFIXES, UnreadableImageError, read_image, read_size
from decinv.video.clips import cut
from decinv.video.pixels import swaps_sides, to_tensor

FOLDER_FPS = 25.0
"""Frames a second of a directory of images, if nothing else is said."""


class UnreadableVideoError(ValueError):
    """A file is no video that can be read, or a frame is damaged; the text is one sentence with the reason, on one line."""


class Scan(NamedTuple):
    """What a look at all frames of a video finds.

    Attributes:
        times: When each readable frame is shown, in seconds from the first one's, not decreasing.
        damage: What is wrong with the file, as one sentence; empty if nothing is.
    """

    times: tuple[Fraction, ...]
    damage: str = ""


class FrameReader(AbstractContextManager["FrameReader"], ABC):
    """The frames of one video by their numbers; fast if they are asked for in order."""

    @abstractmethod
    def read(self, number: int) -> Tensor:
        """Give a frame ``(3, H, W)``, float32 in [-1, 1].

        Raises:
            UnreadableVideoError: If there is no such frame, or it is damaged.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


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
    if Path(path).is_dir():
        count = len(folder_images(path)[:most])
        return Scan(tuple(number / Fraction(folder_fps).limit_denominator(100_000) for number in range(count)))
    try:
        with _Decoding(path) as decoding:
            times = [seconds for _, (_, seconds) in zip(range(most or 2**62), decoding.frames(), strict=False)]
            damage = decoding.damage if most is None or len(times) < most else ""
    except (av.FFmpegError, OSError, ValueError) as error:
        return Scan((), _sentence(path, error))
    return Scan(tuple(times), damage)


def read_clip(path: str | Path, length: int | None = None, start: int = 0, stride: int = 1, fps: float | None = None) -> Tensor:
    """Read one clip into memory.

    Args:
        path: A video file, or a directory of images.
        length: Frames of the clip, at least 1; by default all from ``start`` on.
        start: Frames, after ``stride`` and ``fps``, that are left out at the beginning, at least 0.
        stride: Every which frame is taken, at least 1.
        fps: Frames a second at which the video is seen; by default its own frames, as they are stored.

    Returns:
        The clip ``(3, T, H, W)``, float32 in [-1, 1], of fewer than ``length`` frames where the video ends.

    Raises:
        UnreadableVideoError: If the video has no such frame, or one is damaged.
    """
    found = scan(path)
    moments = [moment for clip in cut("", found.times, None, stride, fps=fps) for moment in clip.moments]
    chosen = moments[start : None if length is None else start + length]
    if not chosen:
        raise UnreadableVideoError(found.damage or f"Expected a frame {start} in {str(path)!r}, but it has {len(moments)}.")
    with open_frames(path) as frames:
        return torch.stack([frames.read(moment.frame) for moment in chosen], dim=1)


class FileReader(FrameReader):
    """The frames of a video file. Going back decodes it from its start again, since seeking is not exact in every file."""

    def __init__(self, path: str | Path, max_pixels: int = MAX_PIXELS) -> None:
        """Open the file; see ``open_frames``."""
        self.path = path
        self.max_pixels = max_pixels
        self._reformatter = VideoReformatter()
        self._decoding: _Decoding | None = None
        self._begin()

    def _begin(self) -> None:
        self.close()
        try:
            self._decoding = _Decoding(self.path)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UnreadableVideoError(_sentence(self.path, error)) from error
        self._frames = enumerate(frame for frame, _ in self._decoding.frames())
        self._last: tuple[int, av.VideoFrame] | None = None

    def read(self, number: int) -> Tensor:
        """Decode up to a frame, and convert it."""
        frame = self._find(number)
        if (frame.height, frame.width) != self._stored:
            raise UnreadableVideoError(
                f"Expected frames of one size in {str(self.path)!r}, but frame {number} has {frame.height} x {frame.width} "
                f"instead of {' x '.join(map(str, self._stored))}."
            )
        if frame.width * frame.height > self.max_pixels:
            raise UnreadableVideoError(
                f"Expected frames of at most {self.max_pixels} pixels, but {str(self.path)!r} has {frame.width} x "
                f"{frame.height}; raise `max_pixels`."
            )
        if frame.is_corrupt:
            raise UnreadableVideoError(f"Expected a whole frame {number} of {str(self.path)!r}, but its data are damaged.")
        return to_tensor(frame, self._reformatter)

    def size(self) -> tuple[int, int]:
        """Give height and width of the first frame, without decoding more."""
        frame = self._find(0)
        return (frame.width, frame.height) if swaps_sides(frame) else (frame.height, frame.width)

    def _find(self, number: int) -> av.VideoFrame:
        if self._decoding is None or (self._last is not None and self._last[0] > number):
            self._begin()
        while self._last is None or self._last[0] < number:
            self._last = next(self._frames, None)
            if self._last is not None and self._last[0] == 0:
                self._stored = (self._last[1].height, self._last[1].width)
            if self._last is None:
                damage = self._decoding.damage if self._decoding is not None else ""
                self.close()
                raise UnreadableVideoError(damage or f"Expected a frame {number} in {str(self.path)!r}, but it ends before.")
        return self._last[1]

    def close(self) -> None:
        """Close the file."""
        if self._decoding is not None:
            self._decoding.close()
        self._decoding = None


class FolderReader(FrameReader):
    """The images of a directory as the frames of a video."""

    def __init__(self, path: str | Path, max_pixels: int = MAX_PIXELS) -> None:
        """List the images.

        Raises:
            UnreadableVideoError: If there is none.
        """
        self.images = folder_images(path)
        self.path = path
        self.max_pixels = max_pixels
        if not self.images:
            raise UnreadableVideoError(f"Expected a directory of images, but there is none in {str(path)!r}.")

    def read(self, number: int) -> Tensor:
        """Read an image."""
        if number >= len(self.images):
            raise UnreadableVideoError(f"Expected a frame {number} in {str(self.path)!r}, but it has {len(self.images)}.")
        try:
            image = read_image(self.images[number], self.max_pixels)
            first = read_size(self.images[0], self.max_pixels)
        except UnreadableImageError as error:
            raise UnreadableVideoError(str(error)) from error
        if tuple(image.shape[1:]) != first:
            raise UnreadableVideoError(
                f"Expected frames of one size in {str(self.path)!r}, but {self.images[number].name} has {image.shape[1]} x "
                f"{image.shape[2]} instead of {first[0]} x {first[1]}."
            )
        return image

    def close(self) -> None:
        """Do nothing: no file stays open."""


def frame_size(path: str | Path) -> tuple[int, int] | None:
    """Give height and width of a video's first frame; ``None`` where it cannot be read."""
    try:
        with open_frames(path) as frames:
            return frames.size() if isinstance(frames, FileReader) else read_size(folder_images(path)[0])
    except (UnreadableVideoError, UnreadableImageError):
        return None


def folder_images(path: str | Path) -> list[Path]:
    """List the images of a directory, hidden ones left out, by their names, in which numbers count by their value."""
    found = (file for file in Path(path).iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    return sorted((file for file in found if not file.is_dir()), key=_natural)


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", file.name)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts], file.name


class _Decoding(AbstractContextManager["_Decoding"]):
    """A video file that is being decoded.

    Attributes:
        damage: What has been found wrong so far, as one sentence.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.damage = ""
        if not Path(path).stat().st_size:
            raise ValueError("it is empty")
        self._container: InputContainer = av.open(str(path), metadata_errors="ignore")
        if not self._container.streams.video:
            self.close()
            raise ValueError("it has no video stream")
        self._stream = self._container.streams.video[0]

    def frames(self) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """Give the frames in the order in which they are shown, each with its time."""
        stream, seen = self._stream, 0
        first: Fraction | None = None
        last = Fraction(0)
        interval = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
        for frame in self._decoded():
            time = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
            first = time if first is None else first
            seconds = last + interval * (seen > 0) if time is None or first is None else time - first
            last = max(last, seconds)
            seen += 1
            yield frame, last
        if not seen and not self.damage:
            self._note("no frame of it can be decoded")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Decode packet by packet, going on behind those that cannot be decoded."""
        packets = 0
        try:
            for packet in self._container.demux(self._stream):
                packets += packet.size > 0
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    self._note(f"packet {packets} cannot be decoded ({_detail(error)})")
                    continue
                yield from frames
        except av.FFmpegError as error:
            self._note(f"it cannot be read behind packet {packets} ({_detail(error)})")
        expected = self._stream.frames if "mp4" in self._container.format.name else 0  # other containers count otherwise
        if packets < expected:
            self._note(f"it ends after {packets} of {expected} frames")

    def _note(self, what: str) -> None:
        """Remember the first thing that was wrong."""
        self.damage = self.damage or _sentence(self.path, ValueError(what))

    def close(self) -> None:
        self._container.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def _sentence(path: str | Path, error: Exception) -> str:
    return f"Expected a whole, readable video at {str(path)!r}, but {_reason(error)}."


def _reason(error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such file"
        case PermissionError():
            return "it may not be opened (permission denied)"
        case av.FFmpegError():
            return f"it is broken, or in a format that is not known ({_detail(error)})"
        case _:
            return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _detail(error: av.FFmpegError) -> str:
    """Give what ffmpeg says, without the path and the number."""
    return " ".join(str(error.strerror or error).split()).rstrip(".:")
