"""What goes into an inversion: a chunk of images, named, with their true latents where these are known."""

from collections.abc import Callable
from itertools import compress
from operator import itemgetter
from typing import Any, NamedTuple

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
        rows: Any = itemgetter(slice(start, stop))
        return self._chosen(rows, rows, () if start else self.failures)

    def without(self, failed: dict[int, Failure]) -> "Batch":
        """Give the other samples, and the failures together with those of ``failed`` (by index)."""
        kept = [row not in failed for row in range(len(self.names))]
        rows = torch.tensor(kept, dtype=torch.bool, device=self.image.device)
        return self._chosen(
            lambda tensor: tensor[rows], lambda entries: tuple(compress(entries, kept)), (*self.failures, *failed.values())
        )

    def _chosen(
        self,
        rows: Callable[[Tensor], Tensor],
        entries: Callable[[tuple[Any, ...]], tuple[Any, ...]],
        failures: tuple[Failure, ...],
    ) -> "Batch":
        """Give some samples: ``rows`` takes theirs of a tensor, ``entries`` of a tuple, which may be empty."""

        def known(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else rows(tensor)

        return Batch(
            image=rows(self.image),
            names=entries(self.names),
            latent=known(self.latent),
            sizes=entries(self.sizes),
            failures=failures,
            numbers=entries(self.numbers),
            noise=known(self.noise),
            prompts=entries(self.prompts),
            companion=known(self.companion),
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


def check_batch(batch: object) -> Batch:
    """Refuse anything but a chunk that can be inverted.

    Returns:
        The chunk.

    Raises:
        TypeError: If it is no ``Batch``, or its images are no float tensor.
        ValueError: If its images are of another number format, shape or range, or there is not a name of its own for each.
    """
    if not isinstance(batch, Batch):
        raise TypeError(f"Expected chunks of images as a `Batch`, but got {type(batch).__name__}; see `decinv.data.ChunkData`.")
    check_images(batch.image)
    if batch.image.dtype != torch.float32:
        raise ValueError(f"Expected images of a chunk as float32, but got {batch.image.dtype}; convert them with `float()`.")
    count = len(batch.image)
    if len(batch.names) != count or len(set(batch.names)) != count:
        raise ValueError(f"Expected a name of its own for each of {count} images of a chunk, but got {batch.names}.")
    return batch
