"""Data: what is inverted, chunk by chunk, and what the bundled models are trained on."""

from decinv.data.base import ChunkData, ChunkLoader
from decinv.data.captioned import CaptionedLatents, encode_scenes
from decinv.data.clips import ClipData
from decinv.data.generated import GeneratedData, generate
from decinv.data.generated_clips import GeneratedClips, generate_clip
from decinv.data.images import ImageData
from decinv.data.indexed import IndexedData
from decinv.data.marked import MarkedNoise
from decinv.data.moving import MovingScene
from decinv.data.noise import GeneratedNoise
from decinv.data.pairs import FlowPairs
from decinv.data.procedural import procedural_batch, procedural_image
from decinv.data.scenes import captioned_scene
from decinv.data.training_images import ProceduralImages
from decinv.data.videos import VideoData

__all__ = [
    "CaptionedLatents",
    "ChunkData",
    "ChunkLoader",
    "ClipData",
    "FlowPairs",
    "GeneratedClips",
    "GeneratedData",
    "GeneratedNoise",
    "ImageData",
    "IndexedData",
    "MarkedNoise",
    "MovingScene",
    "ProceduralImages",
    "VideoData",
    "captioned_scene",
    "encode_scenes",
    "generate",
    "generate_clip",
    "procedural_batch",
    "procedural_image",
]
