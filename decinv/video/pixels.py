"""From a decoded frame of any pixel format to an RGB tensor in [-1, 1], upright."""

import struct
from typing import Any

import numpy as np
import torch
from av import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor

EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
"""How chroma is enlarged and colours are converted: the same on every machine."""

IDENTITY = (1, 0, 0, 0, 1, 0, 0, 0, 1)
"""The display matrix of what is shown as it is stored."""


def to_tensor(frame: VideoFrame, reformatter: VideoReformatter) -> Tensor:
    """Convert a frame by the rules of ``decinv.video.reading``, at the full depth that it has.

    Args:
        frame: A decoded frame.
        reformatter: What converts its colours; one serves all frames of a stream.

    Returns:
        An image with shape ``(3, H, W)``, float32 in [-1, 1].
    """
    deep = any(part.bits > 8 for part in frame.format.components)
    clear = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
    wanted = ("rgba64le" if deep else "rgba") if clear else ("rgb48le" if deep else "rgb24")
    converted = reformatter.reformat(frame, format=wanted, interpolation=EXACT, threads=1)
    white = 65535 if deep else 255
    values = torch.from_numpy(converted.to_ndarray().astype(np.float32)).permute(2, 0, 1)
    image = values[:3] / (white / 2) - 1
    if clear:
        alpha = values[3:] / white
        image = image * alpha + (1 - alpha)
    return _upright(image, frame).contiguous()


def swaps_sides(frame: VideoFrame) -> bool:
    """Whether height and width change places when the frame is shown."""
    a, b, *_ = _display_matrix(frame)
    return abs(b) > abs(a)


def _upright(image: Tensor, frame: VideoFrame) -> Tensor:
    """Turn or mirror an image ``(3, H, W)`` as the file asks to show it, by the nearest multiple of 90 degrees."""
    a, b, _, c, d, *_ = _display_matrix(frame)
    across, down = a, d
    if swaps_sides(frame):
        image, across, down = image.transpose(1, 2), c, b
    mirrored = [axis for axis, sign in ((2, across), (1, down)) if sign < 0]
    return image.flip(mirrored) if mirrored else image


def _display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    """Give the matrix ``(a, b, u, c, d, v, x, y, w)`` by which ``(p, q)`` is shown at ``(a p + c q + x, b p + d q + y)``."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    return IDENTITY if data is None else struct.unpack("9i", bytes(data))
