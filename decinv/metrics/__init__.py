"""Metrics of latents and images: pure functions of a batch, and metrics that gather them over a run."""

from decinv.metrics.background import background_nmse, background_psnr_db, background_ssim, image_nmse_db
from decinv.metrics.cocoercivity import cocoercivity
from decinv.metrics.conditioning import attainable_nmse_db, singular_values
from decinv.metrics.detection import Detection, DetectionRates, Rate, auc, detect, tpr_at_fpr
from decinv.metrics.latent import LatentNMSE, nmse_db
from decinv.metrics.perceptual import ClipScore, lpips
from decinv.metrics.pixel import PixelPSNR, psnr_db
from decinv.metrics.samples import Interval, PerSampleMetric

__all__ = [
    "ClipScore",
    "Detection",
    "DetectionRates",
    "Interval",
    "LatentNMSE",
    "PerSampleMetric",
    "PixelPSNR",
    "Rate",
    "attainable_nmse_db",
    "auc",
    "background_nmse",
    "background_psnr_db",
    "background_ssim",
    "cocoercivity",
    "detect",
    "image_nmse_db",
    "lpips",
    "nmse_db",
    "psnr_db",
    "singular_values",
    "tpr_at_fpr",
]
