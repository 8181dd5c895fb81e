"""Procedural images: seeded dead-leaves scenes, drawn on the fly.

A scene is a background covered by occluding shapes whose radii follow a power law (the dead-leaves model of
natural image statistics; Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001), filled with
flat colours, linear gradients and 1/f textures, with lines, text-like strokes and blur between the layers.
"""

import math

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from torch import Tensor

from decinv.images.luminance import BT601
from decinv.ranges import refuse_below

SUPERSAMPLING = 2
"""Scenes are drawn at this multiple of their size and averaged down, which anti-aliases every edge."""


def procedural_image(index: int, size: int = 64, seed: int = 0) -> Tensor:
    """Draw one scene; the same ``(index, size, seed)`` always gives the same image.

    Args:
        index: Number of the image in the infinite sequence of its seed, at least 0.
        size: Height and width in pixels, at least 8.
        seed: Seed of the sequence; different seeds give independent images.

    Returns:
        An image with shape ``(3, size, size)``, float32 in [-1, 1], on the 8-bit grid.

    Raises:
        ValueError: If ``index`` or ``seed`` is negative, or ``size`` is below 8.
    """
    refuse_below(0, index=index, seed=seed)
    refuse_below(8, size=size)
    image = draw_scene(np.random.default_rng([seed, index]), size * SUPERSAMPLING).reduce(SUPERSAMPLING)
    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32).copy())
    return pixels.permute(2, 0, 1) / 127.5 - 1.0


def draw_scene(rng: np.random.Generator, width: int) -> Image.Image:
    """Draw one scene of ``width x width`` pixels, with edges that are not anti-aliased."""
    return _Scene(rng, width).draw()


def draw_shape(rng: np.random.Generator, width: int) -> Image.Image:
    """Draw one of the shapes of which scenes are made, white on black, as an ``L`` image of ``width x width`` pixels."""
    return _Scene(rng, width).shape_mask()


def procedural_batch(count: int, size: int = 64, seed: int = 0, first: int = 0) -> Tensor:
    """Stack ``count`` consecutive scenes of one seed, from index ``first`` on, as ``(count, 3, size, size)``."""
    return torch.stack([procedural_image(first + i, size, seed) for i in range(count)])


class _Scene:
    """One drawing in progress: a canvas, its random generator and its palette."""

    def __init__(self, rng: np.random.Generator, width: int) -> None:
        self.rng = rng
        self.width = width
        self.saturation = rng.uniform(0.0, 0.7) if rng.random() < 0.5 else 1.0
        self.textures = [self._texture() for _ in range(2)]
        self.canvas = self._fill()

    def draw(self) -> Image.Image:
        """Cover the background with shapes, from far to near, and finish with blur and strokes."""
        count = int(self.rng.integers(15, 90))
        blur_after = int(self.rng.integers(0, count)) if self.rng.random() < 0.35 else -1
        for i in range(count):
            self._paint(self.shape_mask())
            if i == blur_after:
                self._blur(self.rng.uniform(1.0, 6.0))
        if self.rng.random() < 0.4:
            self._strokes()
        if self.rng.random() < 0.4:
            self._shade()
        if self.rng.random() < 0.3:
            self._blur(self.rng.uniform(0.5, 2.5))
        return self.canvas

    def _colour(self) -> tuple[int, int, int]:
        """Draw a colour from the RGB cube and move it towards its grey, so that about half of the scenes are desaturated."""
        rgb = self.rng.uniform(0.0, 1.0, 3)
        grey = float(rgb @ BT601)
        r, g, b = (int(255 * (grey + self.saturation * (c - grey))) for c in rgb)
        return r, g, b

    def _texture(self) -> Image.Image:
        """Draw a colour texture with amplitude spectrum 1/f^a, a uniform in [1, 2]."""
        n = self.width
        frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :])
        frequency[0, 0] = math.inf
        spectrum = frequency ** -self.rng.uniform(1.0, 2.0)
        noise = self.rng.standard_normal((2, *spectrum.shape)) + 1j * self.rng.standard_normal((2, *spectrum.shape))
        fields = np.fft.irfft2(noise * spectrum, s=(n, n))
        fields /= fields.std(axis=(1, 2), keepdims=True)
        first, second, third = (np.array(self._colour(), dtype=np.float64) for _ in range(3))
        weight = np.clip(0.5 + 0.35 * fields, 0.0, 1.0)[..., None]
        pixels = first * (1 - weight[0]) + second * weight[0]
        pixels += 0.35 * (third - pixels) * weight[1]
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")

    def _gradient(self) -> Image.Image:
        """Draw a linear colour gradient in a random direction."""
        angle = self.rng.uniform(0, 2 * math.pi)
        axis = np.linspace(-0.5, 0.5, self.width)
        weight = np.clip(0.5 + math.cos(angle) * axis[None, :] + math.sin(angle) * axis[:, None], 0.0, 1.0)
        mask = Image.fromarray((255 * weight).astype(np.uint8), "L")
        size = (self.width, self.width)
        return Image.composite(Image.new("RGB", size, self._colour()), Image.new("RGB", size, self._colour()), mask)

    def _fill(self) -> Image.Image:
        """Choose what a surface is made of: flat, gradient or texture."""
        kind = self.rng.random()
        if kind < 0.45:
            return Image.new("RGB", (self.width, self.width), self._colour())
        if kind < 0.65:
            return self._gradient()
        texture = self.textures[int(self.rng.integers(len(self.textures)))]
        dx, dy = (int(v) for v in self.rng.integers(0, self.width, 2))
        return ImageChops.offset(texture, dx, dy)

    def shape_mask(self) -> Image.Image:
        """Draw one shape, its radius from the power law r^-3 between 5 % and 60 % of the width."""
        low, high = 0.05, 0.6
        u = self.rng.random()
        radius = self.width * (low**-2 - u * (low**-2 - high**-2)) ** -0.5
        centre = self.rng.uniform(-0.1, 1.1, 2) * self.width
        angle = self.rng.uniform(0, 2 * math.pi)
        aspect = self.rng.uniform(0.3, 1.0)
        mask = Image.new("L", (self.width, self.width), 0)
        pen = ImageDraw.Draw(mask)
        kind = self.rng.random()
        if kind < 0.2:
            length = self.rng.uniform(0.5, 3.0) * radius + 0.1 * self.width
            end = centre + length * np.array([math.cos(angle), math.sin(angle)])
            pen.line([*centre, *end], fill=255, width=int(self.rng.integers(1, 9)))
        elif kind < 0.5:
            pen.polygon(_ring(centre, radius, aspect, angle, np.linspace(0, 2 * math.pi, 24, endpoint=False)), fill=255)
        elif kind < 0.75:
            corners = math.pi / 4 + np.arange(4) * math.pi / 2
            pen.polygon(_ring(centre, radius, aspect, angle if self.rng.random() < 0.6 else 0.0, corners), fill=255)
        else:
            spokes = np.sort(self.rng.uniform(0, 2 * math.pi, int(self.rng.integers(3, 9))))
            pen.polygon(_ring(centre, radius, aspect, angle, spokes), fill=255)
        return mask

    def _paint(self, mask: Image.Image) -> None:
        if self.rng.random() < 0.1:
            mask = mask.filter(ImageFilter.GaussianBlur(self.rng.uniform(1.0, 6.0)))
        self.canvas.paste(self._fill(), (0, 0), mask)

    def _strokes(self) -> None:
        """Write a few rows of short crooked strokes, which look like text from afar."""
        pen = ImageDraw.Draw(self.canvas)
        height = self.rng.uniform(0.04, 0.14) * self.width
        left, top = self.rng.uniform(0.0, 0.6, 2) * self.width
        colour = self._colour()
        thickness = max(1, int(height * self.rng.uniform(0.08, 0.2)))
        for row in range(int(self.rng.integers(1, 4))):
            x = left
            for _ in range(int(self.rng.integers(3, 14))):
                if self.rng.random() < 0.15:
                    x += 0.5 * height
                    continue
                knots = self.rng.uniform(0, 1, (int(self.rng.integers(2, 5)), 2)) * (0.55 * height, height)
                points = [(x + float(dx), top + row * 1.5 * height + float(dy)) for dx, dy in knots]
                pen.line(points, fill=colour, width=thickness, joint="curve")
                x += 0.75 * height

    def _shade(self) -> None:
        """Darken one side of the scene, as a light from the other side does."""
        light = self._gradient().convert("L").point([int(96 + 0.625 * v) for v in range(256)])
        self.canvas = ImageChops.multiply(self.canvas, Image.merge("RGB", [light] * 3))

    def _blur(self, radius: float) -> None:
        self.canvas = self.canvas.filter(ImageFilter.GaussianBlur(radius))


def _ring(centre: np.ndarray, radius: float, aspect: float, angle: float, spokes: np.ndarray) -> list[tuple[float, float]]:
    """Place points on an ellipse around ``centre``, one at each polar angle of ``spokes``."""
    x, y = radius * np.cos(spokes), aspect * radius * np.sin(spokes)
    cos, sin = math.cos(angle), math.sin(angle)
    return [(float(centre[0] + cos * a - sin * b), float(centre[1] + sin * a + cos * b)) for a, b in zip(x, y, strict=True)]
