"""The DataModule that feeds pairs of noise and what a diffusion model makes of it to the training of a few-step model."""

import torch
from diffusers import DPMSolverMultistepScheduler

from decinv.data.cached import CachedLatents, Captioned
from decinv.data.scenes import captioned_scene
from decinv.diffusion.bundled import pipeline_directory
from decinv.diffusion.noise import draw_noise
from decinv.ranges import refuse_below


class FlowPairs(CachedLatents):
    """Pairs of scaled latents ``(B, 2, C, h, w)``: what a diffusion model makes of noise under a caption, and the noise.

    They are sampled once before the training, by DPM-Solver++(2M) under guidance, with captions of the captioned scenes.
    """

    def __init__(
        self,
        pipeline: str = "bundled",
        steps: int = 12,
        guidance: float = 3.0,
        size: int = 128,
        count: int = 1024,
        batch_size: int = 16,
        large_size: int = 256,
        large_count: int = 64,
        large_batch_size: int = 8,
        large_every: int = 8,
        seed: int = 3,
        validation_seed: int = 2,
        validation_count: int = 32,
        cache: str | None = None,
    ) -> None:
        """Set up the pairs.

        Args:
            pipeline: ``bundled``, or the directory of another diffusion model, as ``DenoiserTraining`` saves it.
            steps: Steps of the solver, at least 1.
            guidance: Scale of classifier-free guidance, at least 0; 1 is none.
            size: Height and width of most images in pixels, a multiple of 32.
            count: Number of pairs of that size, at least 1.
            batch_size: Pairs in a batch of that size, at least 1.
            large_size: Height and width of the other images in pixels, a multiple of 32.
            large_count: Number of pairs of that size, others than those of the first, at least 1.
            large_batch_size: Pairs in a batch of that size, at least 1.
            large_every: One batch in so many is a large one; 0 for none.
            seed: Seed of captions, noise and batches.
            validation_seed: Seed of the held-out captions and noise; differs from ``seed``.
            validation_count: Number of held-out pairs, at least 1.
            cache: A directory that keeps the pairs of one diffusion model for other trainings; null to keep none. Those of
                another model, by its name, or of other ``steps`` or ``guidance`` are refused.

        Raises:
            ValueError: If the two seeds are equal, or a number is out of range.
        """
        super().__init__(
            size,
            count,
            batch_size,
            large_size,
            large_count,
            large_batch_size,
            large_every,
            seed,
            validation_seed,
            validation_count,
            cache,
        )
        refuse_below(1, steps=steps)
        refuse_below(0, guidance=guidance)
        self.pipeline = pipeline
        self.steps = steps
        self.guidance = guidance

    def origin(self) -> str:
        """Name the diffusion model, and how it is sampled."""
        return f"pipeline {self.pipeline!r} with {self.steps} steps and guidance {float(self.guidance)}"

    @torch.no_grad()
    def make(self, count: int, size: int, seed: int, first: int) -> Captioned:
        """Draw captions and noise, and sample.

        Raises:
            FileNotFoundError: If there is no diffusion model.
        """
        from diffusers import StableDiffusionPipeline  # late: it takes seconds, and other jobs need none of it

        directory = pipeline_directory(self.pipeline)
        pipeline = StableDiffusionPipeline.from_pretrained(directory, vae=None, low_cpu_mem_usage=False)
        grid = {"timestep_spacing": "trailing", "use_karras_sigmas": False}  # trailing steps begin where all is noise
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, **grid)
        pipeline.set_progress_bar_config(disable=True)
        if self.trainer is not None:
            pipeline = pipeline.to(self.trainer.strategy.root_device)
        side = size // pipeline.vae_scale_factor
        captions = [captioned_scene(index, 32, seed)[1] for index in range(first, first + count)]
        noise = torch.stack([draw_noise((4, side, side), seed, index, 1) for index in range(first, first + count)])
        made = []
        for start in range(0, count, 16):
            result = pipeline(
                captions[start : start + 16],
                latents=noise[start : start + 16].to(pipeline.device),
                height=size,
                width=size,
                num_inference_steps=self.steps,
                guidance_scale=self.guidance,
                output_type="latent",
            )
            made.append(result.images.cpu())
        return torch.stack([torch.cat(made), noise], 1), captions
