"""Captioned scenes: one to three flat things of named shapes and colours before a background of a named texture and colour.

They are much simpler than the scenes of ``decinv.data.procedural``, so that a small diffusion model can learn what its
prompts say.
"""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from decinv.data.procedural import SUPERSAMPLING
from decinv.diffusion.captions import COLOURS, SHAPES, TEXTURES, caption
from decinv.ranges import refuse_below

RGB = {
    "red": (215, 40, 40),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 50),
    "green": (40, 160, 60),
    "blue": (40, 80, 210),
    "purple": (140, 50, 170),
    "white": (240, 240, 240),
    "black": (25, 25, 25),
}
"""The middle of each colour; every thing's own differs from it by up to 12 grey levels."""


def captioned_scene(index: int, size: int = 128, seed: int = 0) -> tuple[Tensor, str]:
    """Draw one scene and describe it; the same ``(index, size, seed)`` always gives the same pair.

    The same scene in another size is the same drawing, finer or coarser.

    Args:
        index: Number of the scene in the infinite sequence of its seed, at least 0.
        size: Height and width in pixels, at least 32.
        seed: Seed of the sequence; different seeds give independent scenes.

    Returns:
        An image with shape ``(3, size, size)``, float32 in [-1, 1], on the 8-bit grid, and its caption.

    Raises:
        ValueError: If ``index`` or ``seed`` is negative, or ``size`` is below 32.
    """
    refuse_below(0, index=index, seed=seed)
    refuse_below(32, size=size)
    rng = np.random.default_rng([seed, index])
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
    ground = int(rng.integers(len(COLOURS)))
    others = [COLOURS[(ground + int(step)) % len(COLOURS)] for step in rng.integers(1, len(COLOURS), count)]
    shapes = [SHAPES[int(i)] for i in rng.integers(0, len(SHAPES), count)]
    texture = TEXTURES[int(rng.integers(len(TEXTURES)))]
    canvas = _background(rng, size * SUPERSAMPLING, texture, _tone(rng, COLOURS[ground]))
    for (x, y, radius), colour, shape in zip(_places(rng, count), others, shapes, strict=True):
        _draw(ImageDraw.Draw(canvas), canvas.width, (x, y), radius, shape, _tone(rng, colour), rng.uniform(-0.3, 0.3))
    pixels = torch.from_numpy(np.asarray(canvas.reduce(SUPERSAMPLING), dtype=np.float32).copy())
    return pixels.permute(2, 0, 1) / 127.5 - 1.0, caption(list(zip(others, shapes, strict=True)), texture, COLOURS[ground])


def _tone(rng: np.random.Generator, colour: str) -> np.ndarray:
    return np.clip(np.array(RGB[colour]) + rng.uniform(-12, 12, 3), 0, 255)


def _background(rng: np.random.Generator, width: int, texture: str, tone: np.ndarray) -> Image.Image:
    """Fill the canvas with a tone and, where the texture has marks, with marks of the tone drawn halfway to mid-grey."""
    period = rng.uniform(0.16, 0.24)
    angle, dx, dy = rng.uniform(0, math.pi), *rng.uniform(0, 1, 2)
    axis = (np.arange(width) + 0.5) / width
    u = (math.cos(angle) * axis[None, :] + math.sin(angle) * axis[:, None]) / period + dx
    x, y = axis[None, :] / period + dx, axis[:, None] / period + dy
    if texture == "striped":
        marked = u % 1 < 0.5
    elif texture == "dotted":
        marked = np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.27
    elif texture == "checkered":
        marked = (x.astype(int) + y.astype(int)) % 2 == 1
    else:
        marked = np.zeros((width, width), dtype=bool)
    marks = tone + 0.5 * (128 - tone)
    return Image.fromarray(np.where(marked[..., None], marks, tone).astype(np.uint8), "RGB")


def _places(rng: np.random.Generator, count: int) -> list[tuple[float, float, float]]:
    """Choose centre and radius of things, in units of the width, from left to right; they do not touch each other."""
    while True:
        radii = rng.uniform(*{1: (0.18, 0.32), 2: (0.15, 0.22), 3: (0.12, 0.17)}[count], count)
        x, y = (rng.uniform(radii + 0.02, 0.98 - radii) for _ in range(2))
        apart = np.hypot(x[:, None] - x, y[:, None] - y) + np.eye(count)
        if (apart > 1.1 * (radii[:, None] + radii) * (1 - np.eye(count))).all():
            return [(float(x[i]), float(y[i]), float(radii[i])) for i in np.argsort(x)]


def _draw(
    pen: ImageDraw.ImageDraw,
    width: int,
    centre: tuple[float, float],
    radius: float,
    shape: str,
    tone: np.ndarray,
    tilt: float,
) -> None:
    """Draw one thing within its circle, tilted by an angle in radians."""
    r, g, b = (int(v) for v in tone)
    middle, size = np.array(centre) * width, radius * width
    if shape == "circle":
        pen.ellipse([*(middle - size), *(middle + size)], fill=(r, g, b))
        return
    if shape == "ring":
        pen.ellipse([*(middle - size), *(middle + size)], outline=(r, g, b), width=int(0.45 * size))
        return
    upright = -math.pi / 2 + tilt
    if shape == "star":
        angles, lengths = upright + np.arange(10) * math.pi / 5, np.tile([1.0, 0.45], 5)
    elif shape == "cross":
        angles = tilt + np.arange(4).repeat(3) * math.pi / 2 + np.tile([-0.3, 0.3, math.pi / 4], 4)
        lengths = np.tile([1.0, 1.0, 0.42], 4)
    else:
        corners = {"triangle": 3, "square": 4}[shape]
        angles = upright + (corners == 4) * math.pi / 4 + np.arange(corners) * 2 * math.pi / corners
        lengths = np.ones(corners)
    points = middle + size * lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    pen.polygon([(float(x), float(y)) for x, y in points], fill=(r, g, b))
