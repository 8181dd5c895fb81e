"""What goes into an inversion: a chunk of images, named, with their true latents where these are known."""

from typing import NamedTuple

import torch
from torch import Tensor

from decinv.status import Status


class Failure(NamedTuple):
    """An input that came to nothing.

    Attributes:
        name: Its name.
        reason: Why, in one sentence.
        number: Its number in the list of the run's inputs, where there is one.
        status: How it ended.
    """

    name: str
    reason: str
    number: int | None = None
    status: Status = Status.UNREADABLE


class Batch(NamedTuple):
    """One chunk of samples of one size.

    Attributes:
        image: Images ``(B, 3, H, W)``, among them single frames of clips, or for a codec of clips whole clips
            ``(B, 3, T, H, W)``; float32 in [-1, 1].
        names: ``B`` stable, unique names.
        latent: The true raw latents ``(B, C, h, w)`` or ``(B, C, t, h, w)`` where they are known, else ``None``.
        sizes: ``B`` pairs ``(height, width)`` of the images before padding, which is below and to the right; the top-left
            ``height x width`` pixels (of every frame) are the image. Empty where nothing was padded.
        failures: Inputs met while the chunk was gathered that gave no sample.
        numbers: Numbers of the B samples in the list of the run's inputs; empty where there is no such list.
        noise: The true noise ``(B, C, h, w)`` that the latents were sampled from where it is known, else ``None``.
        prompts: ``B`` prompts that the images were sampled with or are to be inverted with, or empty where there are none.
        companion: The other raw latents ``(B, C, h, w)`` that a sampler of pairs had beside the true ones, else ``None``.
    """

    image: Tensor
    names: tuple[str, ...]
    latent: Tensor | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    failures: tuple[Failure, ...] = ()
    numbers: tuple[int, ...] = ()
    noise: Tensor | None = None
    prompts: tuple[str, ...] = ()
    companion: Tensor | None = None

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of one image without its padding."""
        height, width = self.image.shape[-2:]
        return self.sizes[index] if self.sizes else (height, width)

    def part(self, start: int, stop: int) -> "Batch":
        """Give the samples from ``start`` to ``stop`` as a chunk, with the failures if it begins at the first one."""
        return Batch(
            image=self.image[start:stop],
            names=self.names[start:stop],
            latent=None if self.latent is None else self.latent[start:stop],
            sizes=self.sizes[start:stop],
            failures=() if start else self.failures,
            numbers=self.numbers[start:stop],
            noise=None if self.noise is None else self.noise[start:stop],
            prompts=self.prompts[start:stop],
            companion=None if self.companion is None else self.companion[start:stop],
        )

    def without(self, failed: dict[int, Failure]) -> "Batch":
        """Give the other samples, and the failures together with those of ``failed`` (by index)."""
        kept = [row for row in range(len(self.names)) if row not in failed]
        rows = torch.tensor(kept, dtype=torch.int64, device=self.image.device)
        return Batch(
            image=self.image[rows],
            names=tuple(self.names[row] for row in kept),
            latent=None if self.latent is None else self.latent[rows],
            sizes=tuple(self.sizes[row] for row in kept) if self.sizes else (),
            failures=(*self.failures, *failed.values()),
            numbers=tuple(self.numbers[row] for row in kept) if self.numbers else (),
            noise=None if self.noise is None else self.noise[rows],
            prompts=tuple(self.prompts[row] for row in kept) if self.prompts else (),
            companion=None if self.companion is None else self.companion[rows],
        )


def check_images(image: Tensor) -> None:
    """Refuse anything but float images ``(B, 3, H, W)`` or clips ``(B, 3, T, H, W)`` in [-1, 1].

    Raises:
        TypeError: If ``image`` is no floating-point tensor.
        ValueError: If its shape or its range is another one.
    """
    if not isinstance(image, Tensor) or not image.is_floating_point():
        kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(
            f"Expected images as a float tensor in [-1, 1], but got {kind}; convert 8-bit pixels with x / 127.5 - 1."
        )
    if image.ndim not in (4, 5) or image.shape[1] != 3:
        raise ValueError(f"Expected images with shape (B, 3, H, W), or clips (B, 3, T, H, W), but got {tuple(image.shape)}.")
    if image.numel() == 0:
        return
    low, high = (float(v) for v in torch.aminmax(torch.nan_to_num(image.detach(), nan=0.0, posinf=0.0, neginf=0.0)))
    if low < -1.001 or high > 1.001:
        raise ValueError(f"Expected pixels in [-1, 1], but got [{low:.3g}, {high:.3g}]; scale 8-bit pixels with x / 127.5 - 1.")
