"""Editing by inversion: noises, masks, negative prompts, and sampling along the trajectory of an image."""

from decinv.editing.edit_masks import EditMask, MaskFiles, PromptMask
from decinv.editing.masks import blend, difference_mask, grow, to_pixels
from decinv.editing.negatives import Negative, NullText, SourcePrompt
from decinv.editing.noises import centroid, slerp
from decinv.editing.regeneration import regenerate
from decinv.editing.source import Source

__all__ = [
    "EditMask",
    "MaskFiles",
    "Negative",
    "NullText",
    "PromptMask",
    "Source",
    "SourcePrompt",
    "blend",
    "centroid",
    "difference_mask",
    "grow",
    "regenerate",
    "slerp",
    "to_pixels",
]
