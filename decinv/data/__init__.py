"""Data: what is inverted, chunk by chunk, and what the bundled models are trained on."""

from decinv.data.base import ChunkData, ChunkLoader
from decinv.data.captioned import CaptionedLatents, encode_scenes
from decinv.data.generated import GeneratedData, generate
from decinv.data.images import ImageData
from decinv.data.indexed import IndexedData
from decinv.data.pairs import FlowPairs
from decinv.data.procedural import ProceduralImages, procedural_batch, procedural_image
from decinv.data.scenes import captioned_scene

__all__ = [
    "CaptionedLatents",
    "ChunkData",
    "ChunkLoader",
    "FlowPairs",
    "GeneratedData",
    "ImageData",
    "IndexedData",
    "ProceduralImages",
    "captioned_scene",
    "encode_scenes",
    "generate",
    "procedural_batch",
    "procedural_image",
]
