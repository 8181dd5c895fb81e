"""Data: what is inverted, chunk by chunk, and what the bundled codec is trained on."""

from decinv.data.base import ChunkData, ChunkLoader
from decinv.data.generated import GeneratedData, generate
from decinv.data.images import ImageData
from decinv.data.indexed import IndexedData
from decinv.data.marked import MarkedNoise
from decinv.data.noise import GeneratedNoise
from decinv.data.procedural import ProceduralImages, procedural_batch, procedural_image

__all__ = [
    "ChunkData",
    "ChunkLoader",
    "GeneratedData",
    "GeneratedNoise",
    "ImageData",
    "IndexedData",
    "MarkedNoise",
    "ProceduralImages",
    "generate",
    "procedural_batch",
    "procedural_image",
]
