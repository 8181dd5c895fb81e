"""The published loop of arXiv 2409.18442 as its released code goes about it: a baseline to measure. Nobody should use it.

It is written afresh, with what makes the released code slow and its results noisy left in: one image at a time; the whole
autoencoder copied in each iteration; the encoding sampled from its posterior; weights that are not frozen, so that the backward
pass computes their gradients too; the optimizer's state in the codec's number format, in which it underflows in 16 bits; a
warm-up of the gradient method that begins with a rate of 0; the last iterate reported, however bad. The package's own rules run
the same methods without any of that.

Not left in is what would make its results worse without being slower: E(x) is the posterior's mode, and convolutions are as
exact as the codec's.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from decinv.codecs.autoencoder import AutoencoderCodec
from decinv.codecs.base import Codec
from decinv.updates.scheduled import WarmupCosine

EPS = {torch.float32: 1e-8, torch.float16: 1e-4, torch.bfloat16: 1e-4}
"""The epsilon of the published Adam by the codec's number format; the paper has only float32 and float16."""


@dataclass(frozen=True)
class PublishedMethod:
    """One of the paper's methods in the published loop.

    Attributes:
        name: What tables and figures call it.
        gradient: Whether the pixel error's gradient is followed, by backpropagation, instead of ``E(D(z)) - E(x)``.
        lr: The rate of Adam, in scaled latents, before the schedule.
        hold_from: Part of the steps after which the rate is held, in (0, 1].
        longest: Most steps of the schedule; ``None`` for as many as the run has.
        sampled: Whether the encoding of D(z) is sampled, as published, instead of the posterior's mode.
    """

    name: str
    gradient: bool
    lr: float
    hold_from: float = 1.0
    longest: int | None = None
    sampled: bool = True

    def runs(self, marks: Sequence[int]) -> list[tuple[int, ...]]:
        """Give one run for each number of iterations in ``marks``, since a schedule spans it."""
        return [(mark,) for mark in marks]


PUBLISHED = (
    PublishedMethod("published loop, Adam 0.01", gradient=False, lr=0.01, hold_from=0.8, longest=100),
    PublishedMethod("published loop, gradient Adam 0.1 cosine", gradient=True, lr=0.1),
)
"""The paper's method and its baseline."""


class PublishedLoop:
    """A chunk in the published loop, driven one iteration at a time.

    The loop takes the images one after the other. Here each iteration is done for all of them, still one by one, before the
    next: that costs the same, gives the same, and lets other methods take turns with it.

    Attributes:
        iteration: Iterations done.
    """

    def __init__(self, method: PublishedMethod, codec: Codec, image: Tensor, max_iters: int) -> None:
        """Encode the images, each by itself.

        Args:
            method: The method.
            codec: The codec whose decoder is inverted.
            image: Images with shape ``(B, 3, H, W)`` in [-1, 1], on the codec's device.
            max_iters: Iterations of the run, at least 1.

        Raises:
            TypeError: If the codec has no autoencoder of diffusers to copy.
        """
        if not isinstance(codec, AutoencoderCodec):
            raise TypeError(
                f"Expected an AutoencoderCodec for the published loop, but got {type(codec).__name__}; leave `published` empty."
            )
        self.codec = codec
        self.max_iters = max_iters
        self.iteration = 0
        self.samples = [_Sample(method, codec, part, max_iters, seed) for seed, part in enumerate(torch.split(image, 1))]

    @property
    def done(self) -> bool:
        """Whether all iterations are done."""
        return self.iteration >= self.max_iters

    def step(self) -> None:
        """Run one iteration of every image."""
        with self.codec.arithmetic():
            for sample in self.samples:
                sample.step()
        self.iteration += 1

    def latent(self) -> Tensor:
        """Give the raw latents ``(B, C, h, w)`` of the last iterates, float32."""
        scaled = torch.cat([sample.point.detach() for sample in self.samples])
        return self.codec.scaling.invert(scaled.float())

    def work(self) -> tuple[int, int, int]:
        """Give how many images were decoded, encoded (E(x) included) and differentiated."""
        count, gradient = len(self.samples), self.samples[0].method.gradient
        steps = self.iteration * count
        return steps, count if gradient else count + steps, steps if gradient else 0


class _Sample:
    """One image in the published loop."""

    def __init__(self, method: PublishedMethod, codec: AutoencoderCodec, image: Tensor, steps: int, seed: int) -> None:
        self.method = method
        self.codec = codec
        self.dtype = torch.float32 if method.gradient else codec.dtype  # the published baseline knows no other
        self.image = image.to(self.dtype)
        with torch.no_grad():
            self.target = codec.scaling.apply(codec.encode(image)).to(self.dtype)
        self.point = nn.Parameter(self.target.clone())
        self.optimizer = Adam([self.point], lr=method.lr, eps=EPS[self.dtype])
        steps = min(steps, method.longest or steps)
        self.schedule = WarmupCosine(self.optimizer, steps, hold_from=method.hold_from, from_zero=method.gradient)
        self.generator = torch.Generator(image.device).manual_seed(seed)

    def step(self) -> None:
        self.point.grad = None
        if self.method.gradient:
            self._differentiate()
        else:
            self.point.grad = self._residual()
        self.optimizer.step()
        self.schedule.step()

    @torch.no_grad()
    def _residual(self) -> Tensor:
        """Give ``E(D(z)) - E(x)``; in float32 a copy of the autoencoder decodes, and another one encodes."""
        return self._encode(self._decode(self._copy())) - self.target

    @torch.enable_grad()
    def _differentiate(self) -> None:
        """Put the gradient of ``||D(z) - x||^2`` into ``.grad``, and those of all the copy's weights with it."""
        model = self._copy().requires_grad_(True)
        torch.autograd.backward((self._decode(model) - self.image).square().sum())

    def _copy(self) -> Any:
        """Give the autoencoder in this loop's number format: a copy, whether or not one is needed; in 16 bits itself."""
        return copy.deepcopy(self.codec.model).float() if self.dtype == torch.float32 else self.codec.model

    def _decode(self, model: Any) -> Tensor:
        image: Tensor = model.decode(self.codec.scaling.invert(self.point)).sample
        return image

    def _encode(self, image: Tensor) -> Tensor:
        latent = self._copy().encode(image)[0]
        if not isinstance(latent, Tensor):  # a posterior
            latent = latent.sample(self.generator) if self.method.sampled else latent.mode()
        return self.codec.scaling.apply(latent)
