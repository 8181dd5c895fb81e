"""Metrics of latents and images: pure functions of a batch, and metrics that gather them over a run."""

from decinv.metrics.cocoercivity import cocoercivity
from decinv.metrics.latent import LatentNMSE, nmse_db
from decinv.metrics.pixel import PixelPSNR, psnr_db
from decinv.metrics.samples import Interval, PerSampleMetric

__all__ = ["Interval", "LatentNMSE", "PerSampleMetric", "PixelPSNR", "cocoercivity", "nmse_db", "psnr_db"]
