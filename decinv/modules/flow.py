"""The training of the few-step version of the bundled diffusion model: a rectified flow along the model's own paths."""

from collections.abc import Sequence

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from torch import Tensor, nn

from decinv.diffusion.bundled import pipeline_directory
from decinv.modules.diffusion import DiffusionTraining
from decinv.ranges import refuse_below


class FlowTraining(DiffusionTraining):
    """Fine-tune a diffusion model to the velocity of the straight paths between its noise and what it makes of it.

    On ``x_s = (1 - s) x + s eps``, where x is what the diffusion model makes of eps under guidance, the network predicts
    ``eps - x`` at time 1000 s (rectified flow, Liu et al., arXiv 2209.03003; for text to image InstaFlow, Liu et al., arXiv
    2309.06380). One Euler step, or a few, then sample it, without guidance. The text encoder stays as it is.
    """

    def __init__(
        self,
        pipeline: str = "bundled",
        grid: int = 4,
        grid_fraction: float = 0.5,
        average_decay: float = 0.999,
        lr: float = 5e-4,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        decay_fraction: float = 0.5,
    ) -> None:
        """Start from a diffusion model.

        Args:
            pipeline: ``bundled``, or the directory of another diffusion model, as ``DenoiserTraining`` saves it.
            grid: Euler steps of the sampler that the network is made for; s is then a multiple of 1 / grid.
            grid_fraction: Part of the samples whose s lies on that grid, in [0, 1]; the others' is uniform.
            average_decay: Part of the averaged weights that a step keeps, in [0, 1).
            lr: Largest learning rate of AdamW, above 0.
            weight_decay: Decoupled weight decay of AdamW, at least 0.
            warmup_steps: Steps of the linear rise, at least 1.
            decay_fraction: Part of all steps over which the rate falls to 0, in (0, 1].

        Raises:
            FileNotFoundError: If there is no diffusion model.
            ValueError: If an argument is out of range.
        """
        refuse_below(1, grid=grid)
        if not 0 <= grid_fraction <= 1:
            raise ValueError(f"Expected `grid_fraction` in [0, 1], but got {grid_fraction}.")
        from transformers import CLIPTextModel, CLIPTokenizer  # late: it takes seconds, and other jobs need none of it

        directory = pipeline_directory(pipeline)
        unet = UNet2DConditionModel.from_pretrained(directory, subfolder="unet", low_cpu_mem_usage=False)
        unet.register_to_config(_name_or_path="")  # which diffusers would save
        text_encoder = CLIPTextModel.from_pretrained(directory, subfolder="text_encoder").requires_grad_(False)
        tokenizer = CLIPTokenizer.from_pretrained(directory, subfolder="tokenizer")
        super().__init__(unet.train(), text_encoder, tokenizer, average_decay, lr, weight_decay, warmup_steps, decay_fraction)
        self.grid = grid
        self.grid_fraction = grid_fraction
        self.scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)

    def errors(
        self, networks: nn.ModuleDict, batch: tuple[Tensor, Sequence[str]], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Give the mean squared error of the velocity, as ``loss``; a row of the batch is the pair x, eps."""
        data, noise = batch[0].unbind(1)
        uniform = torch.rand(len(data), device=data.device, generator=generator)
        on_grid = torch.rand(len(data), device=data.device, generator=generator) < self.grid_fraction
        s = torch.where(on_grid, (uniform * self.grid).floor().add(1) / self.grid, uniform)
        point = torch.lerp(data, noise, s.view(-1, 1, 1, 1))
        velocity = self.predict(networks, point, 1000 * s, batch[1])
        return {"loss": (velocity - (noise - data)).square().mean()}
