"""Sampling anew under another prompt, from the noise of an image and along its trajectory."""

from collections.abc import Sequence

import torch
from torch import Tensor

from decinv.diffusion.denoiser import Guidance
from decinv.diffusion.process import Process, Visited
from decinv.diffusion.prompt import Condition
from decinv.editing.masks import blend


@torch.no_grad()
def regenerate(
    process: Process,
    source: Sequence[Visited],
    guidance: Guidance,
    conditions: Sequence[Condition],
    mask: Tensor | None = None,
    strength: float = 1.0,
) -> Tensor:
    """Sample with other prompts than those an image was inverted with.

    With a mask, the point after each step is that of the source's trajectory outside the mask (Avrahami et al., arXiv
    2206.02779; Hong et al., arXiv 2311.18387, who take the trajectory from an inversion), so the background comes out as the
    reconstruction has it.

    Args:
        process: The process of the source, whose steps are taken and whose noise is added.
        source: Its trajectory, ``tuple(process.walk(noise))``, of ``B`` samples, or of one for all.
        guidance: The guided network of the edit.
        conditions: What the edit is told in each step, ``B`` samples.
        mask: Where the edit is, ``(B, 1, h, w)``, bool; by default everywhere.
        strength: Part of the steps that are taken anew, in (0, 1]; the others are the source's.

    Returns:
        Scaled latents ``(B, C, h, w)``.

    Raises:
        ValueError: If ``strength`` is out of range.
    """
    first = first_step(len(process.steps), strength)
    point = source[first].point.expand(len(conditions[first].prompt.embedding), -1, -1, -1)
    history = source[first - 1].handed_on if first else None
    for index in range(first, len(process.steps)):
        step = process.steps[index]
        output = guidance(point / step.scale, step.time, conditions[index])
        following = step(point, output, history, process.noise(index))
        point, history = (
            following if mask is None else blend(following, source[index].following, mask),
            step.handed_on(point, output),
        )
    return point


def check_strength(strength: float) -> None:
    """Refuse a part of the steps that is none.

    Raises:
        ValueError: If ``strength`` is not in (0, 1].
    """
    if not 0 < strength <= 1:
        raise ValueError(f"Expected `strength` in (0, 1], but got {strength}.")


def first_step(steps: int, strength: float) -> int:
    """Give the index of the first of the last ``strength`` of ``steps`` steps, of which at least one is left.

    Raises:
        ValueError: If ``strength`` is not in (0, 1].
    """
    check_strength(strength)
    return min(round((1 - strength) * steps), steps - 1)
