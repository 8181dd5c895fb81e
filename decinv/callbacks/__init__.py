"""Callbacks: they observe an inversion and write down what they see; none of them changes what comes out of it."""

from decinv.callbacks.base import Chunk, ChunkCallback
from decinv.callbacks.checkpoint import ChunkCheckpoint
from decinv.callbacks.clips import ClipWriter
from decinv.callbacks.convergence import Convergence
from decinv.callbacks.images import Images
from decinv.callbacks.memory import Memory
from decinv.callbacks.progress import InversionProgress
from decinv.callbacks.strips import ClipImages
from decinv.callbacks.summary import Summary
from decinv.callbacks.watermark import WatermarkDetection
from decinv.callbacks.writer import ResultWriter

__all__ = [
    "Chunk",
    "ChunkCallback",
    "ChunkCheckpoint",
    "ClipImages",
    "ClipWriter",
    "Convergence",
    "Images",
    "InversionProgress",
    "Memory",
    "ResultWriter",
    "Summary",
    "WatermarkDetection",
]
