"""The training of the bundled codec: an AutoencoderKL of the diffusers kind, learnt from procedural images."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR


class AutoencoderTraining(LightningModule):
    """Train an ``AutoencoderKL`` by L1 + MSE + L1 of image gradients + KL, and save it as diffusers does.

    The loss of an image ``x`` with posterior ``q`` and reconstruction ``y = D(z)``, ``z ~ q``, averaged over pixels, is::

        |y - x| + (y - x)^2 + gradient_weight |grad y - grad x| + colour_weight |pool y - pool x| + kl_weight KL(q || N(0, 1)) / (H W)

    with the mean over 8 x 8 pixels as ``pool``, without which a narrow bottleneck learns edges first and colours never.
    The learning rate rises linearly, stays, and falls linearly to 0 over the last part of ``trainer.max_steps``.
    """

    def __init__(
        self,
        block_out_channels: tuple[int, ...] = (32, 64, 96, 128),
        layers_per_block: int = 1,
        latent_channels: int = 4,
        norm_num_groups: int = 16,
        lr: float = 1.5e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 300,
        decay_fraction: float = 0.4,
        gradient_weight: float = 0.5,
        colour_weight: float = 2.0,
        kl_weight: float = 1e-4,
    ) -> None:
        """Build the autoencoder with random weights.

        Args:
            block_out_channels: Channels of each resolution level; n levels down-sample by 2^(n-1).
            layers_per_block: Residual layers of each level.
            latent_channels: Channels of the latent.
            norm_num_groups: Groups of each GroupNorm; divides every number of channels.
            lr: Largest learning rate of AdamW, above 0.
            weight_decay: Decoupled weight decay of AdamW, at least 0.
            warmup_steps: Steps of the linear rise, at least 1.
            decay_fraction: Part of all steps over which the rate falls to 0, in (0, 1].
            gradient_weight: Weight of the L1 distance between image gradients, at least 0.
            colour_weight: Weight of the L1 distance between images averaged over 8 x 8 pixels, at least 0.
            kl_weight: Weight of the KL divergence per pixel, at least 0.

        Raises:
            ValueError: If ``decay_fraction`` lies outside (0, 1] or ``warmup_steps`` is below 1.
        """
        super().__init__()
        if not 0 < decay_fraction <= 1:
            raise ValueError(f"Expected `decay_fraction` in (0, 1], but got {decay_fraction}.")
        if warmup_steps < 1:
            raise ValueError(f"Expected `warmup_steps` to be at least 1, but got {warmup_steps}.")
        levels = len(block_out_channels)
        self.autoencoder = AutoencoderKL(
            block_out_channels=tuple(block_out_channels),
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            norm_num_groups=norm_num_groups,
        )
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.decay_fraction = decay_fraction
        self.gradient_weight = gradient_weight
        self.colour_weight = colour_weight
        self.kl_weight = kl_weight

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW under the trapezoidal schedule, which is updated every step."""
        optimizer = torch.optim.AdamW(self.parameters(), self.lr, betas=(0.9, 0.99), weight_decay=self.weight_decay)
        total = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / self.warmup_steps, (total - step) / (self.decay_fraction * total))

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Give the loss of one batch of images ``(B, 3, H, W)`` in [-1, 1]."""
        posterior = self.autoencoder.encode(batch).latent_dist
        error = self.autoencoder.decode(posterior.sample()).sample.float() - batch
        gradients = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        colours = functional.avg_pool2d(error, 8).abs().mean()
        kl = posterior.kl().mean() / (batch.shape[-1] * batch.shape[-2])
        loss = error.abs().mean() + error.square().mean() + self.kl_weight * kl
        loss = loss + self.gradient_weight * gradients + self.colour_weight * colours
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the PSNR in dB of D(E(x)), clamped, against held-out images."""
        images = batch[0]
        latent = self.autoencoder.encode(images).latent_dist.mode()
        reconstruction = self.autoencoder.decode(latent).sample.float().clamp(-1, 1)
        mse = functional.mse_loss(reconstruction, images, reduction="none").mean(dim=(1, 2, 3))
        self.log("val_psnr_db", (10 * torch.log10(4 / mse)).mean(), prog_bar=True, batch_size=len(images))

    def on_train_end(self) -> None:
        """Save the autoencoder under the run directory, with the scaling that gives latents unit standard deviation."""
        if self.trainer.is_global_zero and self.trainer.datamodule is not None:
            self.export(Path(self.trainer.default_root_dir) / "codec")

    @torch.no_grad()
    def export(self, directory: Path) -> None:
        """Write ``config.json`` and the weights as safetensors into ``directory``."""
        loader = self.trainer.datamodule.val_dataloader()
        latents = [self.autoencoder.encode(x.to(self.device)).latent_dist.mode().flatten() for (x,) in loader]
        self.autoencoder.register_to_config(scaling_factor=round(1 / float(torch.cat(latents).std()), 5))
        self.autoencoder.save_pretrained(directory)
