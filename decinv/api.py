"""The Python front door: inversion in a notebook, by the same problem, rules and solver as the command line's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

import numpy as np
import torch
import yaml
from jsonargparse import ArgumentParser
from PIL import Image
from torch import Tensor, nn

from decinv.batch import check_images
from decinv.codecs.autoencoder import load_codec
from decinv.codecs.base import Codec
from decinv.codecs.frames import FrameRule, as_frames
from decinv.diffusion.conditioned import check_range, conditioned
from decinv.diffusion.pipeline import DiffusersPipeline, Pipeline
from decinv.diffusion.sampler import DDIM, Sampler
from decinv.errors import own_sentence
from decinv.host_memory import HOST_MEMORY
from decinv.images.padding import pad_to_multiple
from decinv.images.reading import UnreadableImageError, from_pil, read_image
from decinv.memory import in_parts, is_out_of_memory
from decinv.methods.base import Method
from decinv.methods.whole import ExactInversion
from decinv.placement import HOST, Placement
from decinv.problems.base import Problem
from decinv.problems.decoder import DecoderProblem
from decinv.ranges import refuse_below, refuse_fractions
from decinv.result import Result, followed, join, join_frames
from decinv.shipped_configs import shipped
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates.anderson import Anderson
from decinv.updates.base import UpdateFactory
from decinv.updates.stock import as_rule

Images = Tensor | Sequence[Image.Image | str | Path]


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
    # Before the decoder is inverted, so that a wrong prompt or path costs no computing.
    model = DiffusersPipeline(str(pipeline)) if isinstance(pipeline, str | Path) else pipeline
    if codec is None and isinstance(model, DiffusersPipeline):
        codec = load_codec(model.codec_path)
    if not isinstance(codec, Codec):
        raise TypeError(f"Expected a codec, but got {type(codec).__name__}; load one with `load_codec`.")
    codec.check()
    if model is not None:
        _check_sampling(model, negative_prompt, guidance, sampler, method, noise_seed)
    elif (prompt, negative_prompt, guidance, sampler, method, noise_seed) != ("", None, 1.0, None, None, 0):
        raise ValueError("Expected a `pipeline`, which prompt, guidance, sampler, method and noise seed are of, but got none.")
    pixels, readable = _pixels(images, codec.stride * (1 if model is None else model.patch))
    if pixels.ndim == 5 and pipeline is not None:
        raise ValueError("Expected images where a `pipeline` is inverted too, but got clips; give their frames as images.")
    times = pixels.shape[2] if pixels.ndim == 5 and codec.frames is None else None
    if times is not None:
        FrameRule().latents(times)  # not 0
        pixels, readable = as_frames(pixels), [True] * (len(pixels) * times)
    prompts = [] if model is None else _prompts(prompt, readable)
    how = sampler or DDIM(), method or ExactInversion()
    if model is not None:
        model.refuse_codec(codec)
        model.refuse_cells(*(side // codec.stride for side in pixels.shape[-2:]))
        how[1].check(model.trajectory(how[0]))
    factory = load_update(update) if isinstance(update, str | Path) else update
    if not callable(factory):
        raise TypeError(
            "Expected `update` to be a callable from parameters to an optimizer, or the path of a YAML fragment, but got "
            f"{type(factory).__name__}."
        )
    stopping = Stopping(max_iters, rtol, patience, last_iterate, gradient_steps)
    placement = Placement(codec, factory, stopping)

    def solve(chunk: Tensor) -> Result:
        """Invert a chunk."""
        device = HOST if placement.on_host(chunk) else codec.device
        if device == HOST:
            HOST_MEMORY.turn_to(chunk.shape)
        latent = nn.Parameter(torch.empty(0, device=codec.device))
        solver = Solver(latent, as_rule(factory([latent])), stopping)
        solver.start(problem(codec, (chunk.clone() if chunk.is_inference() else chunk).to(device, torch.float32)))
        while not solver.done:
            solver.step()
        result = solver.result()
        return replace(result, latent=result.latent.to(codec.device))

    def sample_back(latent: Tensor, texts: list[str], diffusion: Pipeline) -> Result:
        """Invert the sampler from scaled latents."""
        options = codec.stride, guidance, negative_prompt, noise_seed, codec.device

        def noise_of(rows: Tensor) -> Result:
            chosen = [texts[row] for row in rows.tolist()]
            process = conditioned(diffusion, how[0], chosen, (latent.shape[-2], latent.shape[-1]), *options)
            return how[1].invert(process, latent[rows.to(latent.device)])

        return join(in_parts(noise_of, torch.arange(len(texts))), [True] * len(texts))

    def go_on(found: Result, texts: Iterator[str], diffusion: Pipeline) -> Result:
        """Invert the sampler from a chunk's latents."""
        latent = codec.scaling.apply(found.latent)
        if not len(latent):
            return replace(found, noise=latent)
        return followed(found, sample_back(latent, [next(texts) for _ in range(len(latent))], diffusion))

    with torch.inference_mode(False), torch.autocast("cpu", enabled=False), torch.autocast(codec.device.type, enabled=False):
        codec.try_out(pixels[:1].to(codec.device, torch.float32, copy=True))
        try:
            parts = [part for chunk in torch.split(pixels, int(batch_size)) for part in in_parts(solve, chunk)]
        except (RuntimeError, ValueError) as error:
            _refuse_size(codec, pixels, error)
            raise
        if model is not None:
            texts = iter(prompts)
            parts = [go_on(part, texts, model) for part in parts]
    result = join(parts, readable)
    return result if times is None else join_frames(result, times)


def _check_sampling(
    model: Pipeline,
    negative_prompt: str | None,
    guidance: float,
    sampler: Sampler | None,
    method: Method | None,
    noise_seed: int,
) -> None:
    """Refuse wrong arguments of a sampler's inversion.

    Raises:
        TypeError: If one is of another type.
        ValueError: If one is out of range.
    """
    kinds = {"pipeline": (model, Pipeline), "sampler": (sampler, Sampler), "method": (method, Method)}
    for name, (value, kind) in kinds.items():
        if value is not None and not isinstance(value, kind):
            saved = "; save it with `save_pretrained`, and give the directory" if hasattr(value, "save_pretrained") else ""
            found = shorten(repr(value), 80, placeholder=" ...")
            raise TypeError(f"Expected `{name}` to be a `{kind.__name__}` of decinv, but got {found}{saved}.")
    if negative_prompt is not None and not isinstance(negative_prompt, str):
        raise TypeError(f"Expected one `negative_prompt` for all images, or None, but got {negative_prompt!r}.")
    if not isinstance(guidance, int | float | np.floating):
        raise TypeError(f"Expected `guidance` to be a number, but got {guidance!r}.")
    check_range(guidance, noise_seed)
    if negative_prompt is not None and guidance <= 1:
        raise ValueError(
            f"Expected `guidance` above 1 with a `negative_prompt`, which nothing else leads away from, but got {guidance}."
        )


def _refuse_size(codec: Codec, pixels: Tensor, error: RuntimeError | ValueError) -> None:
    """Say what ``error`` means if it is that the codec does not take images, or clips, of this size.

    Raises:
        ValueError: If it is.
    """
    if is_out_of_memory(error) or own_sentence(error) is not None:
        return
    refusal = codec.refusal(pixels[:1].to(codec.device, torch.float32))
    if refusal is not None:
        size = " x ".join(map(str, pixels.shape[2:]))
        raise ValueError(
            f"Expected images that the codec takes, but got one of {size} pixels, and {type(codec).__name__} {refusal}; give "
            "images of another size."
        ) from error


def load_update(path: str | Path) -> UpdateFactory:
    """Read an update rule from a YAML fragment, as ``--model.update PATH`` on the command line does.

    Args:
        path: A YAML file with ``class_path`` and ``init_args`` of an optimizer.

    Returns:
        A callable from parameters to the optimizer.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the fragment names no optimizer, or an option that it does not have.
    """
    path = shipped(str(path))
    if not Path(path).is_file():
        raise FileNotFoundError(f"Expected a YAML fragment of an update rule, but there is no file {str(path)!r}.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--update", type=UpdateFactory)
    try:
        fragment = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        factory: UpdateFactory = parser.instantiate(parser.parse_object({"update": fragment}))["update"]
    except Exception as error:  # jsonargparse raises its own and argparse's errors, which share no base
        raise ValueError(f"Expected {str(path)!r} to describe an update rule, but: {error}") from error
    return factory


def _prompts(prompt: str | Sequence[str], readable: list[bool]) -> list[str]:
    """Give the prompts of the readable images."""
    if not isinstance(prompt, str | Sequence) or not all(isinstance(text, str) for text in prompt):
        raise TypeError(f"Expected `prompt` to be a text, or one for each image, but got {prompt!r}; give '' for none.")
    prompts = [prompt] * len(readable) if isinstance(prompt, str) else list(prompt)
    if len(prompts) != len(readable):
        raise ValueError(f"Expected one `prompt`, or one for each of {len(readable)} images, but got {len(prompts)}.")
    return [text for text, usable in zip(prompts, readable, strict=True) if usable]


def _pixels(images: Images, multiple: int) -> tuple[Tensor, list[bool]]:
    """Give the readable images as one tensor, files and pictures padded to multiples of so many pixels, and which they are."""
    if isinstance(images, Tensor):
        check_images(images)
        return images, [True] * len(images)
    if isinstance(images, str | Path | Image.Image) or not isinstance(images, Sequence):
        raise TypeError(
            f"Expected a float tensor or a list of PIL images and paths, but got {type(images).__name__}; put a single image "
            "into a list, and make arrays images by `PIL.Image.fromarray`."
        )
    tensors: list[Tensor] = []
    readable: list[bool] = []
    failure: UnreadableImageError | None = None
    for image in images:
        if not isinstance(image, Image.Image | str | Path):
            raise TypeError(
                f"Expected a list of PIL images and paths, but got one of {type(image).__name__}; stack tensors to one of "
                "shape (B, 3, H, W), and make arrays images by `PIL.Image.fromarray`."
            )
        try:
            tensors.append(from_pil(image) if isinstance(image, Image.Image) else read_image(Path(image)))
            readable.append(True)
        except UnreadableImageError as error:
            failure = error
            readable.append(False)
    if failure is not None and not tensors:
        raise failure
    sizes = {tuple(tensor.shape[1:]) for tensor in tensors}
    if len(sizes) > 1:
        found = ", ".join(f"{height} x {width}" for height, width in sorted(sizes))
        raise ValueError(f"Expected images of one size, but got {found}; invert each size on its own.")
    stacked = torch.stack(tensors) if tensors else torch.empty(0, 3, multiple, multiple)
    return pad_to_multiple(stacked, multiple), readable
