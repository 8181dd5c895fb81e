"""Images as tensors: read from files, and fitted to a codec's stride."""

from decinv.images.padding import crop_to_multiple, pad_to_multiple
from decinv.images.reading import UnreadableImageError, from_pil, read_image, read_size
from decinv.images.resizing import cover

__all__ = ["UnreadableImageError", "cover", "crop_to_multiple", "from_pil", "pad_to_multiple", "read_image", "read_size"]
