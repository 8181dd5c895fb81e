"""Image autoencoders of diffusers as codecs, the bundled one among them."""

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, Self

import torch
from diffusers import ModelMixin
from torch import Tensor

from decinv.codecs.base import Codec, Scaling
from decinv.codecs.blocks import compile_blocks
from decinv.codecs.budget import MemoryBudget
from decinv.codecs.graphs import CudaGraphs
from decinv.codecs.loading import load_autoencoder, reason, without_weights

PROBE_SIZES = (64, 128, 256, 512)
"""Image sizes in pixels that are tried, in order, to learn an autoencoder's stride."""


class AutoencoderCodec(Codec):
    """Drive any deterministic image autoencoder of diffusers: AutoencoderKL, Tiny, DC, AsymmetricKL, VQModel and their like.

    E is the mode of the posterior, or the latent itself where the encoder has no posterior; D is the decoder alone.
    ``scaling`` comes from the autoencoder's own ``scaling_factor`` and ``shift_factor``.

    Within ``with torch.device("meta")`` it is made from its config alone, for shapes and memory: without weights, not compiled.
    """

    def __init__(
        self,
        path: str = "bundled",
        subfolder: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        channels_last: bool = False,
        memory_mib: float | None = None,
        tiling: bool = False,
        compile: bool = False,
        cuda_graphs: bool = False,
        clamp: bool = True,
        allow_pickle: bool = False,
    ) -> None:
        """Load an autoencoder.

        Args:
            path: ``bundled``, a directory saved by diffusers (an autoencoder, or a pipeline with its autoencoder in
                ``vae`` or ``vqvae``), or a hub id.
            subfolder: Subfolder of ``path`` that holds the autoencoder; by default it is found.
            dtype: Number format of the codec's weights and arithmetic; latents and solver state are float32 all the same.
            channels_last: Whether weights and activations are laid out channels-last, which is faster on some devices.
            memory_mib: Memory in MiB that the codec may use beside weights and images; as many images of a batch are coded at
                once as fit into it, by measurement, and at least one. By default all are.
            tiling: Whether the codec works on tiles, for large images; this changes the maps E and D, so latents differ.
            compile: Whether to compile the repeated blocks of E and D with ``torch.compile``; the first step takes minutes.
            cuda_graphs: Whether to record the kernels of E and D as a CUDA graph for each shape of a batch, and to launch them
                together from then on, which saves time where images are small; on CUDA only, and not for gradients.
            clamp: Whether D(z) is clamped to [-1, 1] before it is compared with an image or encoded again. Images are
                clamped, so without it the true latent of an image with saturated pixels solves nothing. Published codes do
                without.
            allow_pickle: Whether to read weights from pickles too, which can run any code; else only safetensors are read.

        Raises:
            FileNotFoundError: If there is no autoencoder at ``path``.
            ValueError: If what is there is no deterministic autoencoder of RGB images, or it lacks what an option asks for.
        """
        super().__init__()
        self._graphs = CudaGraphs()
        self.path = path
        self.clamps = clamp
        self.dtype: torch.dtype = getattr(torch, dtype)
        self.model = load_autoencoder(path, subfolder, self.dtype, allow_pickle)
        self.freeze()
        config = self.model.config
        self.scaling = Scaling(float(config.get("scaling_factor") or 1.0), float(config.get("shift_factor") or 0.0))
        self.stride, self.latent_channels = self._probe()
        if config.get("latents_mean") or config.get("latents_std"):
            warnings.warn(
                f"The autoencoder at {path!r} has a mean and a deviation per channel (`latents_mean`, `latents_std`), which "
                "`scaling` leaves out: scaled latents are not those of its diffusion model, raw latents are right.",
                stacklevel=2,
            )
        if dtype == "float16" and config.get("force_upcast"):
            warnings.warn(
                f"The autoencoder at {path!r} is known to overflow in float16 (its config sets `force_upcast`): if samples "
                "end as DIVERGED, set its `dtype` to bfloat16 or float32.",
                stacklevel=2,
            )
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        if tiling:
            _enable_tiling(self.model)
        if compile and not without_weights():
            compile_blocks(self.model)
        if cuda_graphs and not without_weights():
            self._run_by(self._graphs.run)
        if memory_mib is not None:
            self._run_by(MemoryBudget(memory_mib).run)

    def _run_by(self, run: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> None:
        """Let ``run`` call E and D from now on."""
        self._encode = partial(run, self._encode)  # type: ignore[method-assign]
        self._decode = partial(run, self._decode)  # type: ignore[method-assign]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the weights, and leave behind what was recorded with them where they were."""
        self._graphs.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _encode(self, image: Tensor) -> Tensor:
        output = self.model.encode(image.to(self.dtype))
        for name in ("latent_dist", "latents", "latent"):
            if hasattr(output, name):
                latent = getattr(output, name)
                mode: Tensor = latent.mode() if name == "latent_dist" else latent
                return mode
        raise ValueError(
            f"Expected an encoder output with a latent, but {type(self.model).__name__} gives {type(output).__name__}."
        )

    def _decode(self, latent: Tensor) -> Tensor:
        image: Tensor = self.model.decode(latent.to(self.dtype)).sample
        return image

    @torch.no_grad()
    def _probe(self) -> tuple[int, int]:
        """Run a small image through the codec; give its stride and latent channels, or say why it cannot be used."""
        kind = type(self.model).__name__
        problem = "it encodes no image"
        for size in PROBE_SIZES:
            image = torch.linspace(-1, 1, size, device=self.model.device).expand(1, 3, size, size)
            try:
                latent = self._encode(image).float()
                decoded = self._decode(latent)
                again = self._decode(latent)
            except (TypeError, AttributeError, NotImplementedError) as error:
                problem = reason(error)
                break
            except (RuntimeError, ValueError, IndexError) as error:  # the image may be too small
                problem = reason(error)
                continue
            if latent.ndim == 4 and decoded.shape == image.shape and latent.shape[-1] and size % latent.shape[-1] == 0:
                if not decoded.is_meta and not torch.equal(torch.nan_to_num(decoded), torch.nan_to_num(again)):
                    raise ValueError(f"Expected a deterministic decoder, but {kind} decodes one latent to different images.")
                return size // latent.shape[-1], latent.shape[1]
            problem = f"it gives {tuple(decoded.shape)} for an image with shape {tuple(image.shape)}"
        raise ValueError(
            f"Expected an autoencoder of single RGB images at {self.path!r}, but {kind} cannot code one ({problem}); "
            "autoencoders of videos and of other channels need another codec."
        )


def load_codec(
    path: str | Path = "bundled",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    device: torch.device | str = "cpu",
) -> AutoencoderCodec:
    """Load a codec by name; ``AutoencoderCodec`` has more options.

    Args:
        path: ``bundled``, a directory saved by diffusers, or a hub id.
        dtype: Number format of the codec's arithmetic.
        device: Where the codec shall run.

    Returns:
        The frozen codec.

    Raises:
        FileNotFoundError: If there is no autoencoder at ``path``.
        ValueError: If what is there is no deterministic autoencoder of RGB images.
    """
    return AutoencoderCodec(str(path), dtype=dtype).to(device)


def _enable_tiling(model: ModelMixin) -> None:
    """Switch tiling on, and say what that means; refuse where the class has none that works."""
    switch = getattr(model, "enable_tiling", None)
    kind = type(model).__name__
    try:
        if switch is None or not inspect.ismethod(switch):
            raise NotImplementedError
        switch()
    except NotImplementedError as error:
        raise ValueError(f"Expected an autoencoder with tiling, but {kind} has none; leave `tiling` off.") from error
    warnings.warn(
        f"With `tiling`, {kind} codes images that are larger than its tile in parts, none of which sees the statistics of the "
        "whole image: latents solve the problem of the tiled codec, and are not those of the whole one.",
        stacklevel=3,
    )
