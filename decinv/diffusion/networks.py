"""The networks of diffusers' pipelines as denoisers."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from decinv.convolutions import convolutions
from decinv.diffusion.denoiser import Denoiser
from decinv.diffusion.prompt import Prompt


class ConvolvingDenoiser(Denoiser):
    """A network with convolutions."""

    def __init__(self, model: Any, tf32: bool = False) -> None:
        """Wrap the network.

        Args:
            model: The network.
            tf32: Whether CUDA may round the factors of its float32 convolutions to TF32.
        """
        super().__init__()
        self.model = model
        self.tf32 = tf32
        self.freeze()

    def arithmetic(self) -> AbstractContextManager[None]:
        """Convolve as ``tf32`` says."""
        return convolutions(self.tf32)


class UNetDenoiser(ConvolvingDenoiser):
    """A ``UNet2DConditionModel``: Stable Diffusion 1.5 and 2.1, SDXL and their like, InstaFlow, and the bundled model."""

    def _predict(self, point: Tensor, time: Tensor, prompt: Prompt) -> Tensor:
        dtype = self.model.dtype
        added = None
        if prompt.pooled is not None and prompt.size is not None:
            added = {"text_embeds": prompt.pooled.to(dtype), "time_ids": prompt.size.to(dtype)}
        told = {"encoder_hidden_states": prompt.embedding.to(dtype), "added_cond_kwargs": added}
        with self.arithmetic():
            result: Tensor = self.model(point.to(dtype), time, **told, return_dict=False)[0]
        return result


class FluxDenoiser(Denoiser):
    """A ``FluxTransformer2DModel``, which sees patches of 2 x 2 latent cells."""

    def __init__(self, model: Any, guidance: float = 3.5) -> None:
        """Wrap the network.

        Args:
            model: The network.
            guidance: Guidance scale that networks with guidance distilled into them are told.
        """
        super().__init__()
        self.model = model
        self.guidance = guidance
        self.freeze()

    def _predict(self, point: Tensor, time: Tensor, prompt: Prompt) -> Tensor:
        batch, channels, height, width = point.shape
        dtype, rows, columns = self.model.dtype, height // 2, width // 2
        patches = point.view(batch, channels, rows, 2, columns, 2).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        places = torch.zeros(rows, columns, 3, device=point.device, dtype=dtype)
        places[..., 1] += torch.arange(rows, device=point.device)[:, None]
        places[..., 2] += torch.arange(columns, device=point.device)
        told = self.model.config.guidance_embeds
        assert prompt.pooled is not None
        output = self.model(
            hidden_states=patches.to(dtype),
            timestep=time.to(dtype) / 1000,
            guidance=torch.full_like(time, self.guidance) if told else None,
            pooled_projections=prompt.pooled.to(dtype),
            encoder_hidden_states=prompt.embedding.to(dtype),
            txt_ids=torch.zeros(prompt.embedding.shape[1], 3, device=point.device, dtype=dtype),
            img_ids=places.flatten(0, 1),
            return_dict=False,
        )
        result: Tensor = output[0]
        return result.view(batch, rows, columns, channels, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape_as(point)


class Stable3Denoiser(ConvolvingDenoiser):
    """An ``SD3Transformer2DModel``, which cuts patches by a convolution."""

    def _predict(self, point: Tensor, time: Tensor, prompt: Prompt) -> Tensor:
        dtype = self.model.dtype
        assert prompt.pooled is not None
        told = {"pooled_projections": prompt.pooled.to(dtype), "encoder_hidden_states": prompt.embedding.to(dtype)}
        with self.arithmetic():
            result: Tensor = self.model(point.to(dtype), timestep=time, **told, return_dict=False)[0]
        return result
