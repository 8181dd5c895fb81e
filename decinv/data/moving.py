"""Procedural moving scenes: layers of dead leaves that drift, turn and zoom before a moving background, any frame by itself."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from decinv.data.procedural import SUPERSAMPLING, draw_scene, draw_shape
from decinv.images.eight_bit import round_to_8_bits
from decinv.ranges import refuse_below

SPEED = 0.02
"""Largest speed of a layer, in half widths of the picture a frame; speeds are uniform below it."""

TURN = math.radians(2)
"""Largest turn of a layer, in radians a frame."""


class MovingScene:
    """One scene; the same ``(index, size, seed)`` always gives the same frames.

    The background is a procedural scene twice as wide as the picture, seen by a camera that pans, turns and breathes. One to
    four shapes, each filled with a scene of its own, move before it on straight paths, turn, and come back at the edges.
    """

    def __init__(self, index: int, size: int = 64, seed: int = 0) -> None:
        """Draw the layers.

        Args:
            index: Number of the scene in the infinite sequence of its seed, at least 0.
            size: Height and width of a frame in pixels, at least 8.
            seed: Seed of the sequence, at least 0.

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_below(0, index=index, seed=seed)
        refuse_below(8, size=size)
        self.width = size * SUPERSAMPLING
        rng = np.random.default_rng([seed, index, 2])
        self._background = _Layer(rng, 2 * self.width, None)
        self._leaves = [_Layer(rng, self.width, int(rng.integers(2**32))) for _ in range(int(rng.integers(1, 5)))]

    def frame(self, number: int) -> Tensor:
        """Give one frame ``(3, size, size)``, float32 in [-1, 1], on the 8-bit grid.

        Args:
            number: Its number, from 0 on; there is no end.
        """
        picture = self._background.show(number, self.width, "reflection")[:3]
        for leaf in self._leaves:
            layer = leaf.show(number, self.width, "zeros")
            picture = picture * (1 - layer[3:]) + layer[:3]
        small: Tensor = functional.avg_pool2d(picture[None], SUPERSAMPLING)[0]
        return round_to_8_bits(2 * small - 1)


class _Layer:
    """A picture with its opacity ``(4, w, w)`` in [0, 1], colours multiplied by it, and its motion."""

    def __init__(self, rng: np.random.Generator, width: int, shape: int | None) -> None:
        colour = torch.from_numpy(np.asarray(draw_scene(rng, width), np.float32) / 255).permute(2, 0, 1)
        opacity = torch.ones(1, width, width)
        if shape is not None:
            mask = draw_shape(np.random.default_rng(shape), width)
            opacity = torch.from_numpy(np.asarray(mask, np.float32) / 255)[None]
        self.pixels = torch.cat([colour * opacity, opacity])
        self.place = rng.uniform(-0.5, 0.5, 2)
        self.speed = rng.uniform(-SPEED, SPEED, 2)
        self.angle, self.turn = rng.uniform(-math.pi, math.pi), rng.uniform(-TURN, TURN)
        self.zoom, self.breath = rng.uniform(0.8, 1.2), rng.uniform(0.0, 0.03)

    def show(self, number: int, width: int, padding: str) -> Tensor:
        """Give the layer as a picture of ``width`` shows it in a frame, ``(4, width, width)``."""
        scale = width / self.pixels.shape[-1] / self.zoom * (1 + self.breath * math.sin(number / 8))
        angle = self.angle + self.turn * number
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        across, down = (_bounce(place + speed * number) for place, speed in zip(self.place, self.speed, strict=True))
        move = [-cos * across + sin * down, -sin * across - cos * down]
        theta = torch.tensor([[cos, -sin, move[0]], [sin, cos, move[1]]], dtype=torch.float32)
        grid = functional.affine_grid(theta[None], [1, 4, width, width], align_corners=False)
        seen: Tensor = functional.grid_sample(self.pixels[None], grid, "bilinear", padding, align_corners=False)
        return seen[0]


def _bounce(place: float) -> float:
    """Fold a place on the line into [-1, 1], as a ball between two walls."""
    folded = (place + 1) % 4
    return float(folded if folded < 2 else 4 - folded) - 1
