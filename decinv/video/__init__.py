"""Videos as frames: read exactly, cut into clips by presentation time, and written."""

from decinv.video.base import FrameReader, UnreadableVideoError
from decinv.video.clips import Clip, Moment, cut, shown_at
from decinv.video.reading import Scan, open_frames, read_clip, scan
from decinv.video.writing import LosslessVideo, PreviewVideo

__all__ = [
    "Clip",
    "FrameReader",
    "LosslessVideo",
    "Moment",
    "PreviewVideo",
    "Scan",
    "UnreadableVideoError",
    "cut",
    "open_frames",
    "read_clip",
    "scan",
    "shown_at",
]
