"""Writing clips: without loss, and as a preview that any player shows."""

from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import ClassVar, cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from decinv.images.eight_bit import Picture

TICKS = 90_000
"""Ticks of a second in which times are given; a container may round them, Matroska to milliseconds."""


class Video(AbstractContextManager["Video"]):
    """A video file in the making. Pictures have one size, and times that increase."""

    codec: ClassVar[str]
    pixels: ClassVar[str]
    container: ClassVar[str]
    options: ClassVar[dict[str, str]] = {}
    muxing: ClassVar[dict[str, str]] = {"fflags": "bitexact"}  # the same bytes each time: no dates, no random numbers

    def __init__(self, path: Path) -> None:
        """Make the file, whatever its name says of its format."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._output: OutputContainer = av.open(str(path), "w", format=self.container, options=dict(self.muxing))
        self._stream: VideoStream | None = None
        self._last = -1

    def add(self, picture: Picture, seconds: Fraction) -> None:
        """Add a picture.

        Args:
            picture: The picture.
            seconds: When it is shown, from the begin on.
        """
        picture = self.fitted(picture)
        if self._stream is None:
            self._stream = self._begin(*picture.shape[:2])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._last = max(self._last + 1, round(seconds * TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._output.mux(self._stream.encode(frame))

    def _begin(self, height: int, width: int) -> VideoStream:
        stream = cast(VideoStream, self._output.add_stream(self.codec, rate=25, options=dict(self.options)))
        stream.height, stream.width, stream.pix_fmt = height, width, self.pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        return stream

    def fitted(self, picture: Picture) -> Picture:
        """Give the picture as the format can hold it."""
        return picture

    def close(self) -> None:
        """Write what waits, and close the file."""
        if self._stream is not None:
            self._output.mux(self._stream.encode(None))
        self._output.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


class LosslessVideo(Video):
    """FFV1 in Matroska: every pixel comes back as it was; times are rounded to milliseconds."""

    codec = "ffv1"
    pixels = "bgr0"
    container = "matroska"
    options: ClassVar[dict[str, str]] = {"level": "3", "slicecrc": "1"}


class PreviewVideo(Video):
    """H.264, yuv420p, in mp4: what any player and browser shows. Odd sides get a white line more."""

    codec = "libx264"
    pixels = "yuv420p"
    container = "mp4"
    options: ClassVar[dict[str, str]] = {"crf": "18", "preset": "medium"}
    muxing: ClassVar[dict[str, str]] = {**Video.muxing, "movflags": "faststart"}

    def fitted(self, picture: Picture) -> Picture:
        """Make the sides even."""
        height, width = picture.shape[:2]
        return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255)
