"""Images that are given in Python: as a tensor, or as pictures and paths."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from decinv.batch import check_images
from decinv.images.padding import pad_to_multiple
from decinv.images.reading import UnreadableImageError, from_pil, read_image

Images = Tensor | Sequence[Image.Image | str | Path]


def stack(images: Images, multiple: int) -> tuple[Tensor, list[bool]]:
    """Give the readable images as one tensor, and which they are.

    Args:
        images: The images, as ``decinv.invert`` takes them.
        multiple: Pixels that sides of files and pictures are padded to multiples of.

    Returns:
        The readable images ``(B, 3, H, W)`` or clips ``(B, 3, T, H, W)``, and whether each of all was readable.

    Raises:
        TypeError: If they are neither a float tensor nor a sequence of PIL images and paths.
        ValueError: If they have another shape or range, or several sizes.
        UnreadableImageError: If none of them can be read.
    """
    if isinstance(images, Tensor):
        check_images(images)
        return images, [True] * len(images)
    if isinstance(images, str | Path | Image.Image) or not isinstance(images, Sequence):
        raise TypeError(
            f"Expected a float tensor or a list of PIL images and paths, but got {type(images).__name__}; put a single image "
            "into a list, and make arrays images by `PIL.Image.fromarray`."
        )
    tensors: list[Tensor] = []
    readable: list[bool] = []
    failure: UnreadableImageError | None = None
    for image in images:
        if not isinstance(image, Image.Image | str | Path):
            raise TypeError(
                f"Expected a list of PIL images and paths, but got one of {type(image).__name__}; stack tensors to one of "
                "shape (B, 3, H, W), and make arrays images by `PIL.Image.fromarray`."
            )
        try:
            tensors.append(from_pil(image) if isinstance(image, Image.Image) else read_image(Path(image)))
            readable.append(True)
        except UnreadableImageError as error:
            failure = error
            readable.append(False)
    if failure is not None and not tensors:
        raise failure
    sizes = {tuple(tensor.shape[1:]) for tensor in tensors}
    if len(sizes) > 1:
        found = ", ".join(f"{height} x {width}" for height, width in sorted(sizes))
        raise ValueError(f"Expected images of one size, but got {found}; invert each size on its own.")
    stacked = torch.stack(tensors) if tensors else torch.empty(0, 3, multiple, multiple)
    return pad_to_multiple(stacked, multiple), readable
