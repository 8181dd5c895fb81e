"""From a stream of samples of mixed sizes to chunks of one size, in bounded memory."""

from collections.abc import Iterable, Iterator
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.batch import Batch, Failure

MAX_BUFFERED_PIXELS = 2**25
"""Pixels of samples that wait for mates of their size, above which the fullest bucket goes out: 400 MB of images."""


class Sample(NamedTuple):
    """One image or clip on its way into a chunk.

    Attributes:
        name: Its stable, unique name.
        image: The padded or cropped image ``(3, H, W)``, or clip ``(3, T, H, W)``.
        size: Height and width without the padding.
        latent: The true raw latent ``(C, h, w)``, or ``(C, t, h, w)``, where it is known.
        number: Its number in the list of the run's inputs, where there is one.
        noise: The true noise ``(C, h, w)`` where it is known.
        prompt: The prompt that it was sampled with, or is to be inverted with, where there is one.
        companion: The other raw latent ``(C, h, w)`` that a sampler of pairs had, where there is one.
    """

    name: str
    image: Tensor
    size: tuple[int, int]
    latent: Tensor | None = None
    number: int | None = None
    noise: Tensor | None = None
    prompt: str | None = None
    companion: Tensor | None = None


def gather(
    inputs: Iterable[Sample | Failure],
    batch_size: int,
    stride: int,
    max_pixels: int = MAX_BUFFERED_PIXELS,
    frames: int | None = None,
) -> Iterator[Batch]:
    """Group samples by size, in the order in which they come.

    A bucket of one size goes out when it has ``batch_size`` samples; the fullest one (of several, the oldest) also when more
    than ``max_pixels`` wait in all; and the rest at the end, oldest first. A failure goes out with the next chunk.

    Args:
        inputs: The samples and failures, read one at a time. All samples have a latent, or none.
        batch_size: Samples in a chunk, at most.
        stride: Side of the image that an empty chunk has: the one after all others, where failures are left.
        max_pixels: Pixels that may wait.
        frames: Frames of that image where the codec takes clips only.

    Yields:
        The chunks.
    """
    buckets: dict[torch.Size, list[Sample]] = {}
    failures: list[Failure] = []
    waiting = 0

    def send(size: torch.Size) -> Batch:
        nonlocal waiting
        samples = buckets.pop(size)
        waiting -= len(samples) * _pixels(size)
        batch = _stack(samples, tuple(failures))
        failures.clear()
        return batch

    for item in inputs:
        if isinstance(item, Failure):
            failures.append(item)
            continue
        size = item.image.shape
        buckets.setdefault(size, []).append(item)
        waiting += _pixels(size)
        if len(buckets[size]) == batch_size:
            yield send(size)
        while waiting > max_pixels:
            yield send(max(buckets, key=lambda size: len(buckets[size])))
    for size in list(buckets):
        yield send(size)
    if failures:
        sides = (stride, stride) if frames is None else (frames, stride, stride)
        yield Batch(torch.empty(0, 3, *sides), (), failures=tuple(failures))


def _pixels(size: torch.Size) -> int:
    return prod(size[1:])


def _stack(samples: list[Sample], failures: tuple[Failure, ...]) -> Batch:
    latents = [sample.latent for sample in samples if sample.latent is not None]
    companions = [sample.companion for sample in samples if sample.companion is not None]
    noise = [sample.noise for sample in samples if sample.noise is not None]
    return Batch(
        image=torch.stack([sample.image for sample in samples]),
        names=tuple(sample.name for sample in samples),
        latent=torch.stack(latents) if latents else None,
        sizes=tuple(sample.size for sample in samples),
        failures=failures,
        numbers=tuple(sample.number for sample in samples if sample.number is not None),
        noise=torch.stack(noise) if noise else None,
        prompts=tuple(sample.prompt for sample in samples if sample.prompt is not None),
        companion=torch.stack(companions) if companions else None,
    )
