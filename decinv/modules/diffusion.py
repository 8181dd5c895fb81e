"""What the trainings of diffusion models share: networks, averaged weights, optimizer, and the directory that they write."""

import copy
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from diffusers import ConfigMixin, UNet2DConditionModel
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from decinv.diffusion.text import encode_prompts
from decinv.modules.drawn import DrawnByStep
from decinv.modules.schedule import Trapezoid
from decinv.ranges import refuse_below, refuse_not_above

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer


class DiffusionTraining(DrawnByStep, ABC):
    """Train a U-Net conditioned by a text encoder, and save both as a pipeline of diffusers without an autoencoder.

    Weights are averaged exponentially over the steps, over fewer of them early on, and the averages are validated and saved:
    after each validation and at the end, into ``pipeline`` below the run directory.
    """

    scheduler: ConfigMixin
    """The scheduler that is saved beside the networks."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: "CLIPTextModel",
        tokenizer: "CLIPTokenizer",
        average_decay: float,
        lr: float,
        weight_decay: float,
        warmup_steps: int,
        decay_fraction: float,
    ) -> None:
        """Take the networks over.

        Args:
            unet: The denoiser.
            text_encoder: Makes its prompts; it is trained if its parameters require gradients.
            tokenizer: That of the text encoder.
            average_decay: Part of the averaged weights that a step keeps, in [0, 1).
            lr: Largest learning rate of AdamW, above 0.
            weight_decay: Decoupled weight decay of AdamW, at least 0.
            warmup_steps: Steps of the linear rise, at least 1.
            decay_fraction: Part of all steps over which the rate falls to 0, in (0, 1].

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__()
        refuse_not_above(0, lr=lr)
        refuse_below(0, weight_decay=weight_decay)
        if not 0 <= average_decay < 1:
            raise ValueError(f"Expected `average_decay` in [0, 1), but got {average_decay}.")
        self.tokenizer = tokenizer
        self.networks = nn.ModuleDict({"unet": unet, "text_encoder": text_encoder})
        self.average = AveragedModel(self.networks, multi_avg_fn=partial(_average, average_decay))
        self.average.requires_grad_(False)
        self.lr = lr
        self.weight_decay = weight_decay
        self.schedule = Trapezoid(warmup_steps, decay_fraction)

    @property
    def averaged(self) -> nn.ModuleDict:
        """The networks with the averaged weights."""
        return cast(nn.ModuleDict, self.average.module)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW under the trapezoidal schedule, which is updated every step."""
        trained = [parameter for parameter in self.networks.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, self.lr, betas=(0.9, 0.99), weight_decay=self.weight_decay, fused=True)
        return self.schedule.drive(optimizer, int(self.trainer.estimated_stepping_batches))

    def predict(self, networks: nn.ModuleDict, latent: Tensor, time: Tensor, prompts: Sequence[str]) -> Tensor:
        """Give the output ``(B, C, h, w)`` of the trained or the averaged networks at latents, times ``(B,)`` and prompts."""
        embedding = encode_prompts(self.tokenizer, networks["text_encoder"], prompts)
        output: Tensor = networks["unet"](latent, time, embedding).sample
        return output.float()

    @abstractmethod
    def errors(
        self, networks: nn.ModuleDict, batch: tuple[Tensor, Sequence[str]], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Give the training ``loss`` of a batch and what else is to be logged; None draws from the global generator."""

    def training_step(self, batch: tuple[Tensor, Sequence[str]], batch_idx: int) -> Tensor:
        """Give the loss of one batch of scaled latents and their captions."""
        loss = self.errors(self.networks, batch, None)["loss"]
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch[0]))
        return loss

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Average the weights, once a step, which may take several batches."""
        if self.global_step > int(self.average.n_averaged):
            self.average.update_parameters(self.networks)

    def validation_step(self, batch: tuple[Tensor, Sequence[str]], batch_idx: int) -> None:
        """Log the errors of the averaged weights at noise and times that are the same in each validation."""
        generator = torch.Generator(self.device).manual_seed(batch_idx)
        for name, value in self.errors(self.averaged, batch, generator).items():
            self.log(f"val_{name}", value, prog_bar=True, batch_size=len(batch[0]), sync_dist=True)

    def on_validation_end(self) -> None:
        """Save what the training has reached."""
        if not self.trainer.sanity_checking:
            self.on_train_end()

    def on_train_end(self) -> None:
        """Save the averaged networks into ``pipeline`` below the run directory."""
        if self.trainer.is_global_zero:
            self.export(Path(self.trainer.default_root_dir) / "pipeline")

    def export(self, directory: Path) -> None:
        """Write the averages as a pipeline without an autoencoder, the U-Net in float16, replacing what ``directory`` held."""
        from diffusers import StableDiffusionPipeline  # late: it takes seconds, and other jobs need none of it

        fresh = directory.with_name(f"{directory.name}.new")
        networks = copy.deepcopy(self.averaged).eval().cpu()
        pipeline = StableDiffusionPipeline(
            vae=None,
            text_encoder=networks["text_encoder"],
            tokenizer=self.tokenizer,
            unet=networks["unet"].half(),
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(fresh)
        shutil.rmtree(directory, ignore_errors=True)
        fresh.rename(directory)


def _average(decay: float, averages: Sequence[Tensor], weights: Sequence[Tensor], count: int | Tensor) -> None:
    """Keep ``min(decay, (1 + count) / (10 + count))`` of averages of ``count`` steps, so that the start is soon forgotten."""
    kept = min(decay, (1 + int(count)) / (10 + int(count)))
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, 1 - kept)
