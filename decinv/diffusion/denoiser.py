"""The network of a diffusion model, and guidance around it."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from decinv.diffusion.prompt import Condition, Prompt
from decinv.frozen import Frozen


class Denoiser(Frozen, ABC):
    """A frozen network ``m(x, t, prompt)`` whose rows do not depend on each other."""

    @abstractmethod
    def _predict(self, point: Tensor, time: Tensor, prompt: Prompt) -> Tensor: ...

    def predict(self, point: Tensor, time: Tensor, prompt: Prompt) -> Tensor:
        """Give the network's output.

        Args:
            point: Points ``(B, C, h, w)``, scaled as the network wants them.
            time: Time of each point, ``(B,)``.
            prompt: Prompt of each point.

        Returns:
            What the network predicts, shaped as the points, float32.
        """
        if not len(point):
            return point.float()
        return self._predict(point, time, prompt).float()


class Guidance:
    """Classifier-free guidance: ``m(x, t, negative) + scale (m(x, t, prompt) - m(x, t, negative))`` (arXiv 2207.12598).

    Both are evaluated in one batch. Up to a scale of 1 there is no guidance, as in diffusers, and one evaluation suffices.
    """

    def __init__(self, denoiser: Denoiser, scale: float = 1.0) -> None:
        """Combine network and scale.

        Args:
            denoiser: The network.
            scale: Guidance scale, at least 0.

        Raises:
            ValueError: If ``scale`` is below 0.
        """
        if not scale >= 0:
            raise ValueError(f"Expected a guidance scale of at least 0, but got {scale}.")
        self.denoiser = denoiser
        self.scale = scale

    @property
    def guides(self) -> bool:
        """Whether there is guidance."""
        return self.scale > 1

    def __call__(self, point: Tensor, time: Tensor | float, condition: Condition) -> Tensor:
        """Give the guided prediction.

        Args:
            point: Points ``(B, C, h, w)``, scaled as the network wants them.
            time: Time of all points, or of each, ``(B,)``.
            condition: Condition of each point.

        Returns:
            The prediction, shaped as the points, float32.

        Raises:
            ValueError: If there is guidance, but no negative prompt.
        """
        times = torch.as_tensor(time, dtype=torch.float32, device=point.device).expand(len(point))
        if not self.guides:
            return self.denoiser.predict(point, times, condition.prompt)
        if condition.negative is None:
            raise ValueError("Expected negative prompts, which guidance leads away from, but got None; give empty ones.")
        both = self.denoiser.predict(torch.cat([point, point]), times.repeat(2), condition.negative.join(condition.prompt))
        return self.combine(*both.chunk(2))

    def combine(self, away: Tensor, towards: Tensor) -> Tensor:
        """Give the guided prediction of those under the negative prompt and under the prompt, all of one shape."""
        return away + self.scale * (towards - away)
