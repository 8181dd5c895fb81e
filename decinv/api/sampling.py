"""Inversion of a sampler without a trainer, from the latents of a decoder's inversion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from textwrap import shorten

import numpy as np
import torch
from torch import Tensor

from decinv.codecs.base import Codec
from decinv.diffusion.conditioned import check_range, conditioned
from decinv.diffusion.pipeline import Pipeline
from decinv.diffusion.sampler import Sampler
from decinv.memory import in_parts
from decinv.methods.base import Method
from decinv.result import Result, followed, join


@dataclass(frozen=True)
class Sampling:
    """How a sampler is inverted; see ``decinv.invert``.

    Attributes:
        pipeline: The diffusion model.
        negative_prompt: What guidance leads away from.
        guidance: Guidance scale.
        sampler: The sampler.
        method: How its steps are inverted.
        noise_seed: Seed of the noise that ancestral samplers add.
    """

    pipeline: Pipeline
    negative_prompt: str | None
    guidance: float
    sampler: Sampler
    method: Method
    noise_seed: int

    def __post_init__(self) -> None:
        """Refuse what is no way to invert a sampler.

        Raises:
            TypeError: If an attribute is of another type.
            ValueError: If one is out of range.
        """
        for name, kind in {"pipeline": Pipeline, "sampler": Sampler, "method": Method}.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                saved = "; save it with `save_pretrained`, and give the directory" if hasattr(value, "save_pretrained") else ""
                found = shorten(repr(value), 80, placeholder=" ...")
                raise TypeError(f"Expected `{name}` to be a `{kind.__name__}` of decinv, but got {found}{saved}.")
        negative, guidance = self.negative_prompt, self.guidance
        if negative is not None and not isinstance(negative, str):
            raise TypeError(f"Expected one `negative_prompt` for all images, or None, but got {negative!r}.")
        if not isinstance(guidance, int | float | np.floating):
            raise TypeError(f"Expected `guidance` to be a number, but got {guidance!r}.")
        check_range(guidance, self.noise_seed)
        if negative is not None and guidance <= 1:
            raise ValueError(
                f"Expected `guidance` above 1 with a `negative_prompt`, which nothing else leads away from, but got {guidance}."
            )

    def refuse(self, codec: Codec, height: int, width: int) -> None:
        """Refuse a codec and a size of latents that the pipeline does not take, and a method that the sampler does not.

        Raises:
            ValueError: If it is so.
        """
        self.pipeline.refuse_codec(codec)
        self.pipeline.refuse_cells(height, width)
        self.method.check(self.pipeline.trajectory(self.sampler))

    def follow(self, parts: list[Result], prompts: list[str], codec: Codec) -> list[Result]:
        """Go on from the outcomes of a decoder's inversion.

        Args:
            parts: The outcomes, chunk by chunk.
            prompts: The prompts of all their samples, in order.
            codec: Their codec.

        Returns:
            The same chunks' outcomes, with the noise.
        """
        texts = iter(prompts)
        return [self._go_on(part, list(islice(texts, len(part.latent))), codec) for part in parts]

    def _go_on(self, found: Result, prompts: list[str], codec: Codec) -> Result:
        """Invert the sampler from a chunk's latents, in halves where they do not fit into memory."""
        latent = codec.scaling.apply(found.latent)
        if not len(latent):
            return replace(found, noise=latent)
        cells = latent.shape[-2], latent.shape[-1]

        def noise_of(rows: Tensor) -> Result:
            chosen = [prompts[row] for row in rows.tolist()]
            options = codec.stride, self.guidance, self.negative_prompt, self.noise_seed, codec.device
            process = conditioned(self.pipeline, self.sampler, chosen, cells, *options)
            return self.method.invert(process, latent[rows.to(latent.device)])

        parts = in_parts(noise_of, torch.arange(len(prompts)))
        return followed(found, join(parts, [True] * len(prompts)))


def prompts_of(prompt: str | Sequence[str], readable: list[bool]) -> list[str]:
    """Give the prompts of the readable images.

    Args:
        prompt: One for all images, or one for each.
        readable: Whether each image is readable.

    Raises:
        TypeError: If ``prompt`` is neither a text nor texts.
        ValueError: If there are more or fewer texts than images.
    """
    if not isinstance(prompt, str | Sequence) or not all(isinstance(text, str) for text in prompt):
        raise TypeError(f"Expected `prompt` to be a text, or one for each image, but got {prompt!r}; give '' for none.")
    prompts = [prompt] * len(readable) if isinstance(prompt, str) else list(prompt)
    if len(prompts) != len(readable):
        raise ValueError(f"Expected one `prompt`, or one for each of {len(readable)} images, but got {len(prompts)}.")
    return [text for text, usable in zip(prompts, readable, strict=True) if usable]
