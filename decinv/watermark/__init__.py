"""Watermarks in the initial noise of a diffusion model: pure functions of latents, and their keys."""

from decinv.watermark.disc import Mask
from decinv.watermark.gaussian_shading import bit_accuracy, match_p_value, messages, read_message, shade, threshold, trace
from decinv.watermark.mark import Finding, Watermark
from decinv.watermark.ring_marks import ThreeKeys, TreeRings
from decinv.watermark.shading_key import ShadingKey
from decinv.watermark.shading_marks import GaussianShading
from decinv.watermark.three_keys import three_keys
from decinv.watermark.tree_ring import (
    correlation,
    correlations,
    decoy_p_value,
    distance,
    distance_p_value,
    distances,
    inject,
    likeliest,
    p_value,
    p_value_of_any,
)
from decinv.watermark.tree_ring_key import Pattern, TreeRingKey

__all__ = [
    "Finding",
    "GaussianShading",
    "Mask",
    "Pattern",
    "ShadingKey",
    "ThreeKeys",
    "TreeRingKey",
    "TreeRings",
    "Watermark",
    "bit_accuracy",
    "correlation",
    "correlations",
    "decoy_p_value",
    "distance",
    "distance_p_value",
    "distances",
    "inject",
    "likeliest",
    "match_p_value",
    "messages",
    "p_value",
    "p_value_of_any",
    "read_message",
    "shade",
    "three_keys",
    "threshold",
    "trace",
]
