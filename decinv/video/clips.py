"""Clips: which frames of a video make one, by number or by presentation time."""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import floor
from typing import NamedTuple


class Moment(NamedTuple):
    """One frame of a clip.

    Attributes:
        frame: Its number in the video, from 0, in the order in which frames are shown.
        seconds: When it is shown, from the video's first frame on.
    """

    frame: int
    seconds: Fraction

    def __str__(self) -> str:
        """Give ``frame@seconds``, exactly, as ``parse`` reads it."""
        return f"{self.frame}@{self.seconds}"

    @classmethod
    def parse(cls, text: str) -> "Moment":
        """Read what ``str`` gave."""
        frame, _, seconds = text.partition("@")
        return cls(int(frame), Fraction(seconds))


class Clip(NamedTuple):
    """Frames that belong together.

    Attributes:
        name: Its unique name.
        moments: Its frames, in order.
    """

    name: str
    moments: tuple[Moment, ...]


def shown_at(times: Sequence[Fraction], fps: float) -> list[Moment]:
    """Choose the frames that a player shows at 0, 1 / fps, 2 / fps, ... seconds, for as long as the last frame begins.

    A frame is shown from its time on until the next one's, so a slow video gives frames more than once.

    Args:
        times: When each frame is shown, not decreasing, from 0 on; at least one.
        fps: Frames a second, above 0.

    Returns:
        The frames, each with the time at which it was asked for.
    """
    interval = 1 / Fraction(fps).limit_denominator(100_000)
    asked = [step * interval for step in range(floor(times[-1] / interval) + 1)]
    return [Moment(bisect_right(times, seconds) - 1, seconds) for seconds in asked]


def cut(
    name: str,
    times: Sequence[Fraction],
    length: int | None = None,
    stride: int = 1,
    most: int | None = None,
    fps: float | None = None,
    whole: bool = False,
) -> list[Clip]:
    """Cut a video into clips that follow one another, from its first frame on.

    Args:
        name: The video's name; clips are called ``NAME-0000``, ``NAME-0001``, ...
        times: When each frame is shown, see ``shown_at``; none gives no clip.
        length: Frames of a clip, at least 1; by default all, which makes one clip, called ``NAME``.
        stride: Take every ``stride``-th frame; at least 1.
        most: Largest number of clips, at least 1; by default as many as there are.
        fps: Frames a second at which the video is seen, see ``shown_at``; by default its own frames, as they are stored.
        whole: Whether to leave out a last clip of fewer than ``length`` frames, unless it is the only one.

    Returns:
        The clips.
    """
    if not times:
        return []
    seen = [Moment(*pair) for pair in enumerate(times)] if fps is None else shown_at(times, fps)
    taken = seen[::stride]
    if length is None:
        return [Clip(name, tuple(taken))]
    parts = [taken[start : start + length] for start in range(0, len(taken), length)][:most]
    if whole and len(parts) > 1 and len(parts[-1]) < length:
        del parts[-1]
    return [Clip(f"{name}-{number:04d}", tuple(part)) for number, part in enumerate(parts)]
