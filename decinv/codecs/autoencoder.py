"""Autoencoders of diffusers as codecs, of images and of clips, the bundled one among them."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from decinv.codecs.base import Codec
from decinv.codecs.blocks import compile_blocks, why_not_compiled
from decinv.codecs.budget import MemoryBudget
from decinv.codecs.drivers import driver_of
from decinv.codecs.graphs import CudaGraphs
from decinv.codecs.loading import load_autoencoder
from decinv.codecs.probing import TOO_SMALL, Layout, probe
from decinv.convolutions import TF32, convolutions
from decinv.dtypes import Dtype, torch_dtype
from decinv.errors import reason
from decinv.weights import without_weights


class AutoencoderCodec(Codec):
    """Drive any autoencoder of images or clips that diffusers has; TABLE.md beside this file lists the classes.

    E is the mode of the posterior, or the latent itself where the encoder has no posterior; D is the decoder alone.
    ``scaling`` is that of the autoencoder's pipelines. ``frames`` tells whether it is one of clips, and what clips it takes.

    Within ``with torch.device("meta")`` it is made from its config alone, for shapes and memory: without weights, not compiled.
    """

    def __init__(
        self,
        path: str = "bundled",
        subfolder: str | None = None,
        dtype: Dtype = "float32",
        tf32: bool = False,
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
                ``vae``, ``vqvae`` or ``movq``), or a hub id.
            subfolder: Subfolder of ``path`` that holds the autoencoder; by default it is found.
            dtype: Number format of the codec's weights and arithmetic; latents and solver state are float32 all the same. In 16
                bits a trainer's mixed precision changes nothing.
            tf32: Whether CUDA may round the factors of float32 convolutions to TF32, as torch lets it by default. That is
                faster, and latents come out about as inexact as with a codec in float16.
            channels_last: Whether weights and activations are laid out channels-last, which is faster on some devices.
            memory_mib: Memory in MiB that the codec may use beside weights and images; as many images of a batch, frames of
                clips, or clips where their frames depend on each other, are coded at once as fit into it, by measurement, and
                at least one. By default all are. On an accelerator the solver's state has its part of it, and is kept on the
                host, together with the images, where it does not fit in beside the coding of one image or clip.
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
            ValueError: If what is there is no deterministic autoencoder of RGB images or clips, or it lacks what an option asks
                for.
        """
        super().__init__()
        self._graphs = CudaGraphs()
        self._is_compiled = compile and not without_weights()
        self.path = path
        self.clamps = clamp
        self.tf32 = tf32
        self.dtype = torch_dtype(dtype)
        with torch.inference_mode(False):  # weights that are made in it cannot be differentiated through
            self.model = load_autoencoder(path, subfolder, self.dtype, allow_pickle)
        self.freeze()
        self._driver = driver_of(self.model)
        if tiling:
            self._driver.enable_tiling()
        layout = probe(self._driver, path)
        if tiling:
            warnings.warn(
                f"With `tiling`, {type(self.model).__name__} codes images that are larger than its tile in parts, none of "
                "which sees the statistics of the whole image: latents solve the problem of the tiled codec, and are not "
                "those of the whole one.",
                stacklevel=2,
            )
        self.stride, self.latent_channels, self.frames = layout.stride, layout.channels, layout.frames
        self.scaling = self._driver.scaling(layout.channels)
        if not without_weights():
            self._refuse_randomness(layout)
            self.proven = True
        if dtype == "float16" and self.model.config.get("force_upcast"):
            warnings.warn(
                f"The autoencoder at {path!r} is known to overflow in float16 (its config sets `force_upcast`): if samples "
                "end as DIVERGED, set its `dtype` to bfloat16 or float32.",
                stacklevel=2,
            )
        if channels_last:
            _lay_out_channels_last(self.model)
        if self._is_compiled:
            compile_blocks(self.model)
        if cuda_graphs and not without_weights():
            self._run_by(self._graphs.run)
        if memory_mib is not None:
            self.budget = MemoryBudget(memory_mib)
            self._run_by(self._within_budget)

    def _run_by(self, run: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> None:
        """Let ``run`` call E and D from now on."""
        self._encode = partial(run, self._encode)  # type: ignore[method-assign]
        self._decode = partial(run, self._decode)  # type: ignore[method-assign]

    def _within_budget(self, work: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        return work(rows) if self.budget is None else self.budget.run(work, rows, self.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the weights, compute in their format, and leave behind what was recorded with them where they were."""
        self._graphs.clear()
        with torch.inference_mode(False):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            self.dtype = fn(torch.empty(0, dtype=self.dtype, device=self.device)).dtype
        return self

    @property
    def encodes_frames(self) -> bool:
        """Whether clips are encoded frame by frame, so that ``_encode`` takes images."""
        return self.frames is None or self._driver.encodes_frames

    @property
    def rounding(self) -> float:
        """That of ``dtype``, and of TF32 where convolutions take it."""
        own = torch.finfo(self.dtype).eps
        return max(own, TF32) if self.tf32 and self.device.type == "cuda" else own

    def arithmetic(self) -> AbstractContextManager[None]:
        """Convolve as ``tf32`` says."""
        return convolutions(self.tf32)

    def _encode(self, image: Tensor) -> Tensor:
        with self._computing():
            return self._driver.encode(image.to(self.dtype))

    def _decode(self, latent: Tensor) -> Tensor:
        with self._computing():
            return self._driver.decode(latent.to(self.dtype))

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Compute as exactly as asked for, and say it where torch cannot compute in the codec's number format, or compile.

        Autocast is for codecs in float32: in 16 bits torch may refuse what mixes weights of one format with images of another.
        """
        kind = self.device.type
        mixes = kind != "meta" and self.dtype != torch.float32 and torch.is_autocast_enabled(kind)
        try:
            with self.arithmetic(), torch.autocast(kind, enabled=False) if mixes else nullcontext():
                yield
        except NotImplementedError as error:
            raise ValueError(
                f"Expected a `dtype` of the codec in which {type(self.model).__name__} can compute on {self.device.type}, but "
                f"got {str(self.dtype).removeprefix('torch.')}: {reason(error)}; set another one."
            ) from error
        except RuntimeError as error:
            failure = why_not_compiled(error) if self._is_compiled else None
            if failure is None:
                raise
            raise ValueError(
                f"Expected torch to compile the codec's blocks, but: {failure}; leave `compile` off, or install a C++ compiler "
                "if that is what is missing."
            ) from error

    @torch.no_grad()
    def _refuse_randomness(self, layout: Layout) -> None:
        """Decode a small latent twice, and refuse a decoder that draws noise."""
        side = layout.size // layout.stride
        try:
            once, again = self._decoded_twice(layout, min(side, 2))  # few processors are fast at 16 bits
        except TOO_SMALL:
            once, again = self._decoded_twice(layout, side)
        if not torch.equal(once, again):
            raise ValueError(
                f"Expected a deterministic decoder, but {type(self.model).__name__} decodes one latent to different images."
            )

    def _decoded_twice(self, layout: Layout, side: int) -> tuple[Tensor, Tensor]:
        times = () if layout.frames is None else (layout.frames.latent_first,)
        latent = torch.linspace(-1, 1, side).expand(1, layout.channels, *times, side, side)
        return torch.nan_to_num(self._decode(latent)), torch.nan_to_num(self._decode(latent))


def _lay_out_channels_last(model: nn.Module) -> None:
    """Lay out the weights of convolutions over images and over clips channels-last."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        weight.data = weight.data.contiguous(memory_format=formats.get(weight.ndim, torch.contiguous_format))


def load_codec(
    path: str | Path = "bundled",
    dtype: Dtype = "float32",
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
        ValueError: If what is there is no deterministic autoencoder of RGB images or clips.
    """
    return AutoencoderCodec(str(path), dtype=dtype).to(device)
