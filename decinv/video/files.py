"""The frames of a video file, decoded by PyAV; ``decinv.video.reading`` has the rules."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from decinv.images.reading import MAX_PIXELS
from decinv.video.base import FrameReader, UnreadableVideoError
from decinv.video.length import missing_bytes
from decinv.video.pixels import swaps_sides, to_tensor

WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders for streams with alpha, which those that FFmpeg takes by itself leave out."""


class FileReader(FrameReader):
    """The frames of a video file. Going back decodes it from its start again, since seeking is not exact in every file."""

    def __init__(self, path: str | Path, max_pixels: int = MAX_PIXELS) -> None:
        """Open the file; see ``open_frames``."""
        self.path = path
        self.max_pixels = max_pixels
        self._reformatter = VideoReformatter()
        self._decoding: Decoding | None = None
        self._begin()

    def _begin(self) -> None:
        self.close()
        self._decoding = Decoding(self.path)
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


class Decoding(AbstractContextManager["Decoding"]):
    """A video file that is being decoded.

    Attributes:
        damage: What has been found wrong so far, as one sentence.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the file.

        Raises:
            UnreadableVideoError: If there is none, or it is no video.
        """
        self.path = path
        self.damage = ""
        try:
            self._length = Path(path).stat().st_size
            if not self._length:
                raise ValueError("it is empty")
            self._container: InputContainer = av.open(str(path), metadata_errors="ignore")
            if problem := _unreadable(self._container):
                self._container.close()
                raise ValueError(problem)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UnreadableVideoError(_sentence(path, error)) from error
        self._stream = self._container.streams.video[0]
        self._decoder = self._stream.codec_context
        if self._stream.metadata.get("alpha_mode") == "1" and self._decoder.name in WITH_ALPHA:
            self._decoder = cast(VideoCodecContext, VideoCodecContext.create(WITH_ALPHA[self._decoder.name], "r"))

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
                if self._is_cut(packet):
                    self._note(f"packet {packets} is cut short")
                    continue
                try:
                    frames = self._decoder.decode(packet)
                except av.FFmpegError as error:
                    self._note(f"packet {packets} cannot be decoded ({_detail(error)})")
                    continue
                yield from frames
        except av.FFmpegError as error:
            self._note(f"it cannot be read behind packet {packets} ({_detail(error)})")
        expected = self._stream.frames if "mp4" in self._container.format.name else 0  # other containers count otherwise
        if packets < expected:
            self._note(f"it ends after {packets} of {expected} frames")
        if missing := missing_bytes(self.path):
            self._note(f"it was cut short behind packet {packets} (at least {missing} bytes are missing)")

    def _is_cut(self, packet: "av.Packet[VideoStream]") -> bool:
        """Whether the file ends within a packet, of which decoders would give a part of the frame."""
        if packet.is_corrupt:
            return self._container.format.name != "mpegts"  # which says so of whole packets, too, behind a gap
        ends = packet.pos is not None and packet.pos + packet.size >= self._length
        return ends and missing_bytes(self.path) > 0

    def _note(self, what: str) -> None:
        """Remember the first thing that was wrong."""
        self.damage = self.damage or _sentence(self.path, ValueError(what))

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def _unreadable(container: InputContainer) -> str:
    """Say why no frame of an open file can be decoded; empty where one may."""
    if not container.streams.video:
        return "it has no video stream"
    # None, whatever PyAV's types say, where nothing decodes it: other codecs, and encrypted ones
    known = cast(VideoCodecContext | None, container.streams.video[0].codec_context) is not None
    return "" if known else "it is in a codec that is not known, or encrypted"


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
