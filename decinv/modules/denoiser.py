"""The training of the bundled latent diffusion model from captioned scenes."""

from collections.abc import Sequence
from typing import Literal

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from decinv.diffusion.captions import WORDS
from decinv.diffusion.text import make_text_encoder, make_tokenizer
from decinv.modules.diffusion import DiffusionTraining
from decinv.ranges import refuse_not_above


class DenoiserTraining(DiffusionTraining):
    """Train a U-Net and its text encoder by denoising under Stable Diffusion's noise schedule.

    With ``x_t = alpha x + sigma eps`` the network predicts ``eps``, or ``v = alpha eps - sigma x`` (Salimans and Ho, arXiv
    2202.00512). The loss of a sample is ``min(SNR, snr_limit)`` times the mean squared error of x that the prediction
    implies, with ``SNR = alpha^2 / sigma^2`` (min-SNR weighting; Hang et al., arXiv 2303.09556).
    """

    def __init__(
        self,
        block_out_channels: tuple[int, ...] = (32, 64, 128),
        layers_per_block: int = 1,
        heads: int = 4,
        norm_num_groups: int = 8,
        latent_channels: int = 4,
        text_width: int = 64,
        text_layers: int = 2,
        prediction: Literal["epsilon", "v_prediction"] = "v_prediction",
        snr_limit: float = 5.0,
        caption_dropout: float = 0.1,
        average_decay: float = 0.999,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 200,
        decay_fraction: float = 0.3,
    ) -> None:
        """Build the networks with random weights.

        Args:
            block_out_channels: Channels of each resolution level of the U-Net; all but the first attend to the prompt.
            layers_per_block: Residual layers of each level.
            heads: Heads of each attention; divides every number of channels and ``text_width``.
            norm_num_groups: Groups of each GroupNorm; divides every number of channels.
            latent_channels: Channels of the latent.
            text_width: Size of the text encoder's embeddings.
            text_layers: Layers of the text encoder.
            prediction: What the network predicts, by diffusers' name.
            snr_limit: Largest weight of a sample, above 0.
            caption_dropout: Part of the captions that are replaced by the empty prompt, in [0, 1).
            average_decay: Part of the averaged weights that a step keeps, in [0, 1).
            lr: Largest learning rate of AdamW, above 0.
            weight_decay: Decoupled weight decay of AdamW, at least 0.
            warmup_steps: Steps of the linear rise, at least 1.
            decay_fraction: Part of all steps over which the rate falls to 0, in (0, 1].

        Raises:
            ValueError: If an argument is out of range.
        """
        refuse_not_above(0, snr_limit=snr_limit)
        if not 0 <= caption_dropout < 1:
            raise ValueError(f"Expected `caption_dropout` in [0, 1), but got {caption_dropout}.")
        levels = len(block_out_channels)
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=latent_channels,
            out_channels=latent_channels,
            block_out_channels=tuple(block_out_channels),
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (levels - 1)),
            up_block_types=(*("CrossAttnUpBlock2D",) * (levels - 1), "UpBlock2D"),
            layers_per_block=layers_per_block,
            cross_attention_dim=text_width,
            attention_head_dim=heads,  # diffusers' name for the number of heads
            norm_num_groups=norm_num_groups,
        )
        tokenizer = make_tokenizer(WORDS)
        text_encoder = make_text_encoder(tokenizer, text_width, text_layers, heads)
        super().__init__(unet, text_encoder, tokenizer, average_decay, lr, weight_decay, warmup_steps, decay_fraction)
        self.prediction = prediction
        self.snr_limit = snr_limit
        self.caption_dropout = caption_dropout
        self.scheduler = DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type=prediction,
        )
        # For samplers made from it that know noise levels: few steps of spaced times end with one that has no inverse.
        self.scheduler.register_to_config(use_karras_sigmas=True)
        self.register_buffer("signal", self.scheduler.alphas_cumprod.clone(), persistent=False)
        self.signal: Tensor

    def training_step(self, batch: tuple[Tensor, Sequence[str]], batch_idx: int) -> Tensor:
        """Give the loss of one batch of scaled latents and their captions, some of which are dropped."""
        latent, captions = batch
        dropped = (torch.rand(len(captions)) < self.caption_dropout).tolist()
        prompts = ["" if drop else caption for drop, caption in zip(dropped, captions, strict=True)]
        return super().training_step((latent, prompts), batch_idx)

    def errors(
        self, networks: nn.ModuleDict, batch: tuple[Tensor, Sequence[str]], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Give the loss, and the mean squared errors of eps and of v that the prediction implies."""
        latent, prompts = batch
        noise = torch.empty_like(latent).normal_(generator=generator)
        count, steps = len(latent), len(self.signal)
        shift = torch.rand(count, device=latent.device, generator=generator)
        time = ((torch.arange(count, device=latent.device) + shift) / count * steps).long()  # one in each part of the range
        power = self.signal[time].view(-1, 1, 1, 1)
        alpha, sigma = power.sqrt(), (1 - power).sqrt()
        output = self.predict(networks, alpha * latent + sigma * noise, time, prompts)
        target = noise if self.prediction == "epsilon" else alpha * noise - sigma * latent
        error = (output - target).square().mean((1, 2, 3))
        power = power.flatten()
        data = error * ((1 - power) / power if self.prediction == "epsilon" else 1 - power)
        snr = power / (1 - power)
        return {
            "loss": (data * snr.clamp(max=self.snr_limit)).mean(),
            "epsilon": (data * snr).mean(),
            "v": (data * (snr + 1)).mean(),
        }
