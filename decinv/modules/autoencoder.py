"""The training of the bundled codec: an AutoencoderKL of the diffusers kind, learnt from procedural images."""

import copy
from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderKL
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from decinv.images.luminance import luminance
from decinv.metrics.pixel import psnr_db
from decinv.modules.drawn import DrawnByStep
from decinv.modules.schedule import Trapezoid
from decinv.ranges import refuse_below, refuse_not_above


class AutoencoderTraining(DrawnByStep):
    """Train an ``AutoencoderKL`` by L1 + MSE + L1 of image gradients + KL, and save it as diffusers does.

    The loss of an image ``x`` with posterior ``q`` and reconstruction ``y = D(z)``, ``z ~ q``, averaged over pixels, is::

        e^2 + fade (|e| + gradient_weight |grad e|) + kl_weight KL(q || N(0, 1)) / (H W) + whitening |cov z - I|^2

    with ``e = y - x``. The chroma of images is weaker than their luminance, and a narrow bottleneck that learns edges first
    has no room left for colours. Therefore the network sees colours whose chroma is ``chroma_gain`` times as strong, and until
    ``chroma_steps`` the loss is the square of e in those colours alone; by twice as many steps ``fade`` rises from 0 to 1 and
    the colours of e become the image's. The change of colours is linear, and ends in the weights of the first and the last
    convolution. The last term keeps the channels of the latent from telling the same.

    The learning rate rises linearly, stays, and falls linearly to 0 over the last part of ``trainer.max_steps``.
    """

    def __init__(
        self,
        block_out_channels: tuple[int, ...] = (32, 64, 96, 128),
        layers_per_block: int = 1,
        latent_channels: int = 4,
        norm_num_groups: int = 8,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 200,
        decay_fraction: float = 0.5,
        gradient_weight: float = 0.5,
        chroma_gain: float = 3.5,
        chroma_steps: int = 1000,
        kl_weight: float = 1e-4,
        whitening: float = 0.03,
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
            chroma_gain: How much stronger chroma is for the network than in the image, at least 1.
            chroma_steps: Steps for which the loss counts chroma that much more, at least 1.
            kl_weight: Weight of the KL divergence per pixel, at least 0.
            whitening: Weight of the squared distance between the latent's mean and covariance and 0 and I, at least 0.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__()
        self.schedule = Trapezoid(warmup_steps, decay_fraction)
        refuse_not_above(0, lr=lr)
        refuse_below(0, weight_decay=weight_decay, gradient_weight=gradient_weight, kl_weight=kl_weight, whitening=whitening)
        refuse_below(1, chroma_gain=chroma_gain, chroma_steps=chroma_steps)
        levels = len(block_out_channels)
        self.autoencoder = AutoencoderKL(
            block_out_channels=tuple(block_out_channels),
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            norm_num_groups=norm_num_groups,
            sample_size=256,  # the side of a tile; those of 32 px, the default, have latents of their own
            force_upcast=False,
        )
        self.lr = lr
        self.weight_decay = weight_decay
        self.gradient_weight = gradient_weight
        self.chroma_gain = chroma_gain
        self.chroma_steps = chroma_steps
        self.kl_weight = kl_weight
        self.whitening = whitening
        with torch.no_grad():  # start with little noise, which would hide all but the strongest direction of the latent
            self.autoencoder.quant_conv.weight[latent_channels:] *= 0.1
            self.autoencoder.quant_conv.bias[latent_channels:] = -8.0

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW under the trapezoidal schedule, which is updated every step."""
        optimizer = torch.optim.AdamW(self.parameters(), self.lr, betas=(0.9, 0.99), weight_decay=self.weight_decay)
        return self.schedule.drive(optimizer, int(self.trainer.estimated_stepping_batches))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Give the loss of one batch of images ``(B, 3, H, W)`` in [-1, 1]."""
        posterior = self.autoencoder.encode(amplify_chroma(batch, self.chroma_gain)).latent_dist
        decoded = amplify_chroma(self.autoencoder.decode(posterior.sample()).sample.float(), 1 / self.chroma_gain)
        fade = min(1.0, max(0.0, self.global_step / self.chroma_steps - 1.0))
        error = amplify_chroma(decoded - batch, self.chroma_gain + fade * (1 - self.chroma_gain))
        gradients = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        kl = posterior.kl().mean() / (batch.shape[-1] * batch.shape[-2])
        loss = error.square().mean() + fade * (error.abs().mean() + self.gradient_weight * gradients)
        loss = loss + self.kl_weight * kl + self.whitening * correlation(posterior.mode().float())
        self.log("train_loss", loss, prog_bar=True)
        return cast(Tensor, loss)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the PSNR in dB of D(E(x)), clamped, against held-out images."""
        images = batch[0]
        latent = self.autoencoder.encode(amplify_chroma(images, self.chroma_gain)).latent_dist.mode()
        decoded = amplify_chroma(self.autoencoder.decode(latent).sample.float(), 1 / self.chroma_gain)
        self.log("val_psnr_db", psnr_db(decoded.clamp(-1, 1), images).mean(), prog_bar=True, batch_size=len(images))

    def on_train_end(self) -> None:
        """Save the autoencoder under the run directory, with the scaling that gives latents unit standard deviation."""
        if self.trainer.is_global_zero:
            self.export(Path(self.trainer.default_root_dir) / "codec")

    @torch.no_grad()
    def export(self, directory: Path) -> None:
        """Write ``config.json`` and the weights as safetensors into ``directory``.

        The chroma gain goes into the weights, and the held-out images decide the scaling.
        """
        model = copy.deepcopy(self.autoencoder).eval()
        first, last = model.encoder.conv_in, model.decoder.conv_out
        colours = amplify_chroma(torch.eye(3, device=self.device)[..., None], self.chroma_gain)[..., 0].T
        back = torch.linalg.inv(colours)
        first.weight.copy_(torch.einsum("ocij,cd->odij", first.weight, colours))
        last.weight.copy_(torch.einsum("cd,doij->coij", back, last.weight))
        last.bias.copy_(back @ last.bias)
        loader = self.trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        latents = torch.cat([model.encode(images.to(self.device)).latent_dist.mode().flatten() for (images,) in loader])
        model.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
        model.save_pretrained(directory)


def amplify_chroma(image: Tensor, gain: float) -> Tensor:
    """Multiply the distance of each pixel of ``(B, 3, ...)`` from its BT.601 luminance by ``gain``; a linear map of colours."""
    grey = luminance(image)
    return grey + gain * (image - grey)


def correlation(latent: Tensor) -> Tensor:
    """Give the squared distance of mean and covariance of the channels of ``(B, C, h, w)`` from 0 and the identity."""
    channels = latent.transpose(0, 1).flatten(1)
    covariance = torch.cov(channels) - torch.eye(len(channels), device=latent.device)
    return covariance.square().sum() + channels.mean(1).square().sum()
