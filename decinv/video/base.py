"""What reads the frames of a video, and what it says where it cannot."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType

from torch import Tensor


class UnreadableVideoError(ValueError):
    """A file is no video that can be read, or a frame is damaged; the text is one sentence with the reason, on one line."""


class FrameReader(AbstractContextManager["FrameReader"], ABC):
    """The frames of one video by their numbers; fast if they are asked for in order."""

    @abstractmethod
    def read(self, number: int) -> Tensor:
        """Give a frame ``(3, H, W)``, float32 in [-1, 1].

        Raises:
            UnreadableVideoError: If there is no such frame, or it is damaged.
        """

    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Give height and width of the frames.

        Raises:
            UnreadableVideoError: If none can be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
