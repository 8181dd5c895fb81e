"""The perfect denoiser of normal data, for which every step is affine and every answer known."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from decinv.diffusion.denoiser import Denoiser
from decinv.diffusion.prompt import Prompt


class GaussianDenoiser(Denoiser):
    """``E[x_0 | x]`` for data with independent normal values, their mean given by the prompt.

    At level ``x = alpha x_0 + sigma eps``, ``x_0(x) = mean + alpha d^2 / (alpha^2 d^2 + sigma^2) (x - alpha mean)``, d the
    deviation. The mean is the prompt's ``embedding``, of a shape that broadcasts to that of the points.
    """

    ratios: Tensor
    deviation: Tensor

    def __init__(self, config: Mapping[str, Any], deviation: Tensor | float = 1.0) -> None:
        """Take schedule and data.

        Args:
            config: Config of the scheduler: ``prediction_type``, and the ``beta_*`` and ``num_train_timesteps`` of
                ``DDIMScheduler``. Where it predicts a flow, the level at time t is ``sigma = t / 1000``.
            deviation: Deviation d of each value, ``(C, h, w)``, or one number.
        """
        super().__init__()
        self.kind = str(config.get("prediction_type", "epsilon"))
        names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "rescale_betas_zero_snr")
        squares = DDIMScheduler(**{name: config[name] for name in names if name in config}).alphas_cumprod
        squares = squares.clamp_min(2**-24)  # as most schedulers of diffusers do, so that ratios are finite
        self.register_buffer("ratios", ((1 - squares) / squares).sqrt())
        self.register_buffer("deviation", torch.as_tensor(deviation, dtype=torch.float32))
        self.freeze()

    def _level(self, time: Tensor) -> tuple[Tensor, Tensor]:
        if self.kind == "flow_prediction":
            return 1 - time / 1000, time / 1000
        below = time.floor().long().clamp(0, len(self.ratios) - 2)  # between times, as schedulers interpolate
        ratio = torch.lerp(self.ratios[below], self.ratios[below + 1], time - below)
        return torch.rsqrt(1 + ratio**2), ratio * torch.rsqrt(1 + ratio**2)

    def _predict(self, point: Tensor, time: Tensor, prompt: Prompt) -> Tensor:
        alpha, sigma = (level.to(point).view(-1, *[1] * (point.ndim - 1)) for level in self._level(time))
        mean, variance = prompt.embedding.to(point), self.deviation.to(point) ** 2
        offset = point - alpha * mean
        total = alpha**2 * variance + sigma**2
        data = mean + alpha * variance / total * offset
        noise = sigma / total * offset
        if self.kind == "sample":
            return data
        if self.kind == "epsilon":
            return noise
        return noise - data if self.kind == "flow_prediction" else alpha * noise - sigma * data
