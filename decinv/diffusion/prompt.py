"""What a denoising network is told beside point and time."""

from typing import NamedTuple

import torch
from torch import Tensor


class Prompt(NamedTuple):
    """``B`` prompts, as text encoders made them.

    Attributes:
        embedding: Embeddings of the tokens, ``(B, L, D)``.
        pooled: One embedding of each whole prompt, ``(B, P)``, for networks that take it.
        size: Original size, crop and target size ``(B, 6)`` of the images, for networks that take them.
    """

    embedding: Tensor
    pooled: Tensor | None = None
    size: Tensor | None = None

    def select(self, keep: Tensor) -> "Prompt":
        """Give the rows of ``keep`` (indices), which may repeat."""
        return Prompt(*(None if part is None else part[keep] for part in self))  # type: ignore[arg-type]

    def join(self, other: "Prompt") -> "Prompt":
        """Give these rows and then those of ``other``."""
        pairs = zip(self, other, strict=True)
        return Prompt(*(None if a is None or b is None else torch.cat([a, b]) for a, b in pairs))  # type: ignore[arg-type]


class Condition(NamedTuple):
    """The prompts of ``B`` samples, and what guidance leads away from.

    Attributes:
        prompt: What the images show.
        negative: What they do not show, usually the empty prompt; ``None`` where nothing is guided.
    """

    prompt: Prompt
    negative: Prompt | None = None

    def select(self, keep: Tensor) -> "Condition":
        """Give the rows of ``keep`` (indices), which may repeat."""
        return Condition(self.prompt.select(keep), None if self.negative is None else self.negative.select(keep))
