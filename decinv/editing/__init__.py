"""Editing by inversion: pure functions of noises, of latents and of a denoiser's predictions."""

from decinv.editing.masks import blend, difference_mask, grow, to_pixels
from decinv.editing.noises import centroid, slerp

__all__ = ["blend", "centroid", "difference_mask", "grow", "slerp", "to_pixels"]
