"""Data: what is inverted, chunk by chunk, and what the bundled codec is trained on."""

from decinv.data.base import ChunkData, ChunkLoader
from decinv.data.generated import GeneratedData, generate
from decinv.data.images import ImageData
from decinv.data.padding import crop_to_multiple, pad_to_multiple
from decinv.data.procedural import ProceduralImages, procedural_batch, procedural_image
from decinv.data.reading import UnreadableImageError, from_pil, read_image

__all__ = [
    "ChunkData",
    "ChunkLoader",
    "GeneratedData",
    "ImageData",
    "ProceduralImages",
    "UnreadableImageError",
    "crop_to_multiple",
    "from_pil",
    "generate",
    "pad_to_multiple",
    "procedural_batch",
    "procedural_image",
    "read_image",
]
