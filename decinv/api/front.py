"""The Python front door: inversion in a notebook, by the same problem, rules and solver as the command line's."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from decinv.api.decoding import Decoding
from decinv.api.images import Images, stack
from decinv.api.sampling import Sampling, prompts_of
from decinv.api.updates import load_update
from decinv.codecs.autoencoder import load_codec
from decinv.codecs.base import Codec
from decinv.codecs.frames import FrameRule, as_frames
from decinv.diffusion.bundled import codec_of
from decinv.diffusion.pipeline import DiffusersPipeline, Pipeline
from decinv.diffusion.sampler import DDIM, Sampler
from decinv.methods.base import Method
from decinv.methods.whole import ExactInversion
from decinv.problems.base import Problem
from decinv.problems.decoder import DecoderProblem
from decinv.ranges import refuse_below, refuse_fractions
from decinv.result import Result, join, join_frames
from decinv.stopping import Stopping
from decinv.updates.anderson import Anderson
from decinv.updates.base import UpdateFactory


def invert(
    images: Images,
    codec: Codec | None = None,
    update: UpdateFactory | str | Path = Anderson,
    max_iters: int = 50,
    rtol: float = 1e-5,
    patience: int | None = 15,
    last_iterate: bool = False,
    gradient_steps: int = 0,
    batch_size: int = 8,
    problem: Callable[[Codec, Tensor], Problem] = DecoderProblem,
    pipeline: Pipeline | str | Path | None = None,
    prompt: str | Sequence[str] = "",
    negative_prompt: str | None = None,
    guidance: float = 1.0,
    sampler: Sampler | None = None,
    method: Method | None = None,
    noise_seed: int = 0,
) -> Result:
    """Find latents z with E(D(z)) = E(x), without gradients; and the noise that a diffusion model makes them from.

    Autocast and inference mode of the caller change nothing: the codec computes in its own number format.
    From the first call on the CPU on, the process keeps memory that tensors freed; see ``decinv.host_memory.HostMemory``.

    Args:
        images: A float tensor ``(B, 3, H, W)`` in [-1, 1] whose sides are multiples of the codec's stride, or clips
            ``(B, 3, T, H, W)`` of as many frames as the codec takes; or PIL images and paths of image files, all of one size,
            which are padded by reflection below and to the right. For a ``pipeline`` of Flux or Stable Diffusion 3 sides are
            multiples of twice the stride.
        codec: The codec whose decoder is inverted; the computing happens on its device, but for what its memory budget leaves
            on the host, see ``decinv.placement.Placement``. By default that of the ``pipeline``, in float32 on the CPU.
        update: The update rule: a callable from parameters to an optimizer, or the path of a YAML fragment such as
            ``configs/update/paper_adam.yaml``.
        max_iters: Largest number of iterations of a sample, each one evaluation of E(D(z)), at least 1.
        rtol: Relative residual below which a sample has converged, at least 0.
        patience: Iterations without progress after which a sample has stalled, at least 1; ``None`` for never.
        last_iterate: Whether to report the iterate after the last update instead of the best one evaluated.
        gradient_steps: Largest number of further iterations, along gradients, of samples that would end at E(x), at least 0;
            see ``decinv.modules.DecoderInversion``.
        batch_size: Images, or clips, that are inverted together, at least 1; with a codec of images, frames of clips.
        problem: What is solved; ``decinv.problems.GradientProblem`` for the gradient baseline.
        pipeline: A diffusion model, whose sampler is inverted too: ``bundled``, a directory saved by diffusers, a hub id, or a
            ``decinv.diffusion.Pipeline``. By default only the decoder is inverted, and no later argument may be given.
        prompt: The prompt of all images, or one for each.
        negative_prompt: What guidance leads away from, with ``guidance`` above 1; ``None`` for what the pipeline takes if no
            prompt is given.
        guidance: Guidance scale, at least 0; up to 1 there is none. The default is none, since how an image was made is not
            known; ``decinv.modules.SamplerInversion``, which samples images too, has 3.
        sampler: The sampler; by default DDIM with 50 steps.
        method: How the sampler's steps are inverted; by default exactly.
        noise_seed: Seed of the noise that ancestral samplers add in each step, the same for each image.

    Returns:
        The raw latents with their residuals, on the codec's device; with a ``pipeline`` also the noise, and residuals are
        those of the sampler's steps, statuses the worse of both, all else the sum or sequence of both. A file that cannot be
        read has the status UNREADABLE and a latent of nan, and costs the others nothing. Images that do not fit into memory
        together are inverted in halves. With a codec of images, every frame of a clip is inverted on its own, and all is
        joined to clips again.

    Raises:
        TypeError: If ``images`` is neither a float tensor nor a sequence of PIL images and paths, ``codec`` is none, or an
            argument of the sampler's inversion is of another type.
        ValueError: If the images have another shape, range or size than the codec takes, or an argument is out of range.
        UnreadableImageError: If none of the images can be read.
        RuntimeError: If one image alone does not fit into memory.
    """
    refuse_fractions(batch_size=batch_size, max_iters=max_iters, gradient_steps=gradient_steps)
    if patience is not None:
        refuse_fractions(patience=patience)
    refuse_below(1, batch_size=batch_size)
    stopping = Stopping(max_iters, rtol, patience, last_iterate, gradient_steps)
    # All else is looked at before the decoder is inverted too, so that a wrong prompt or path costs no computing.
    model = DiffusersPipeline(str(pipeline)) if isinstance(pipeline, str | Path) else pipeline
    if codec is None and isinstance(model, DiffusersPipeline):
        codec = load_codec(codec_of(model.path))
    if not isinstance(codec, Codec):
        raise TypeError(f"Expected a codec, but got {type(codec).__name__}; load one with `load_codec`.")
    codec.check()
    sampling = None
    if model is not None:
        way = DDIM() if sampler is None else sampler, ExactInversion() if method is None else method
        sampling = Sampling(model, negative_prompt, guidance, *way, noise_seed)
    elif (prompt, negative_prompt, guidance, sampler, method, noise_seed) != ("", None, 1.0, None, None, 0):
        raise ValueError("Expected a `pipeline`, which prompt, guidance, sampler, method and noise seed are of, but got none.")
    pixels, readable = stack(images, codec.stride * (1 if model is None else model.patch))
    if pixels.ndim == 5 and sampling is not None:
        raise ValueError("Expected images where a `pipeline` is inverted too, but got clips; give their frames as images.")
    times = pixels.shape[2] if pixels.ndim == 5 and codec.frames is None else None
    if times is not None:
        FrameRule().latents(times)  # not 0
        pixels, readable = as_frames(pixels), [True] * (len(pixels) * times)
    prompts = prompts_of(prompt, readable)
    if sampling is not None:
        sampling.refuse(codec, *(side // codec.stride for side in pixels.shape[-2:]))
    decoding = Decoding(codec, _as_factory(update), stopping, problem)
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False), torch.autocast(codec.device.type, enabled=False):
        parts = decoding.invert(pixels, int(batch_size))
        if sampling is not None:
            parts = sampling.follow(parts, prompts, codec)
    result = join(parts, readable)
    return result if times is None else join_frames(result, times)


def _as_factory(update: UpdateFactory | str | Path) -> UpdateFactory:
    """Give the callable that makes the update rule."""
    factory = load_update(update) if isinstance(update, str | Path) else update
    if not callable(factory):
        raise TypeError(
            "Expected `update` to be a callable from parameters to an optimizer, or the path of a YAML fragment, but got "
            f"{type(factory).__name__}."
        )
    return factory
