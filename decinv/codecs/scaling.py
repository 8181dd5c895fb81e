"""The map between raw latents and the diffusion model's space, and where an autoencoder keeps it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

Values = float | tuple[float, ...]
"""One number for all latents, or one for each channel, latent frame, and row and column of a patch, in this order."""


class Scaling(NamedTuple):
    """The affine map between raw latents and the diffusion model's space: ``scaled = (raw - shift) * factor``.

    Raw and scaled latents have the same shape. Where a diffusion model takes patches of latents for channels, as Flux.2 does,
    its normalisation is the same at every ``patch``-th row and column; cutting into patches is left to the model.

    Attributes:
        factor: What raw latents are multiplied by, none of it 0.
        shift: What is subtracted before.
        frames: Latent frames that ``factor`` and ``shift`` tell apart; if more than 1, clips have no more.
        patch: Rows and columns after which they repeat.
    """

    factor: Values = 1.0
    shift: Values = 0.0
    frames: int = 1
    patch: int = 1

    def apply(self, raw: Tensor) -> Tensor:
        """Map raw latents ``(B, C, h, w)`` or ``(B, C, t, h, w)`` to the diffusion model's space."""
        return (raw - self._spread(self.shift, raw)) * self._spread(self.factor, raw)

    def invert(self, scaled: Tensor) -> Tensor:
        """Map latents of the diffusion model's space to raw latents."""
        return scaled / self._spread(self.factor, scaled) + self._spread(self.shift, scaled)

    def scale(self, difference: Tensor) -> Tensor:
        """Map differences of raw latents to the diffusion model's space, where the shift cancels."""
        return difference * self._spread(self.factor, difference)

    def _spread(self, values: Values, latent: Tensor) -> float | Tensor:
        """Lay values out along the channels, frames, rows and columns of a latent, as far as they differ."""
        if not isinstance(values, tuple):
            return values
        cell = latent.new_tensor(values).view(-1, self.frames, self.patch, self.patch)
        height, width = latent.shape[-2:]
        if self.patch > 1:
            cell = cell.repeat(1, 1, -(-height // self.patch), -(-width // self.patch))[..., :height, :width]
        if latent.ndim == 4:
            return cell[:, 0]
        if self.frames == 1:
            return cell
        if latent.shape[2] > self.frames:
            raise ValueError(f"Expected at most {self.frames} latent frames to normalise, but got {latent.shape[2]}.")
        return cell[:, : latent.shape[2]]


def scaling_of(model: ModelMixin, channels: int) -> Scaling:
    """Give the scaling by which the pipelines of an autoencoder's class normalise its latents.

    It is ``(raw - shift_factor) * scaling_factor``; ``(raw - latents_mean) * scaling_factor / latents_std`` where there are
    such statistics, for each channel or for each channel and latent frame; or that of the class's batch normalisation.

    Args:
        model: The autoencoder.
        channels: Its latent channels.

    Raises:
        ValueError: If its numbers cannot be undone, or are not for so many channels.
    """
    config = model.config
    factor, shift = config.get("scaling_factor"), float(config.get("shift_factor") or 0.0)
    factor = 1.0 if factor is None else float(factor)
    norm, patch = getattr(model, "bn", None), 1
    if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
        patch = int(config["patch_size"][0])
        mean, std = _values(norm.running_mean), _values((norm.running_var + config["batch_norm_eps"]).sqrt())
    else:
        kept = dict(model.named_buffers(recurse=False))
        mean, std = (_values(config.get(name) or kept.get(name)) for name in ("latents_mean", "latents_std"))
        if not (mean and std):  # pipelines then take neither
            mean = std = []
    cells = channels * patch * patch
    if not all(math.isfinite(value) for value in (factor, shift, *mean, *std)) or 0 in (factor, *std):
        raise ValueError(
            f"Expected {type(model).__name__} to scale latents by finite numbers other than 0, but got {factor}, {shift}, "
            f"{mean} and {std}; correct its config."
        )
    if len(mean) % cells or len(std) % cells:
        raise ValueError(
            f"Expected {type(model).__name__} to have a mean and a deviation for each of {cells} channels of latents, but got "
            f"{len(mean)} and {len(std)}; correct its config."
        )
    factors = _merge([factor / value for value in std]) if std else factor
    shifts = _merge(mean) if mean else shift
    most = max(len(values) for values in (mean, std))
    return Scaling(factors, shifts, max(1, most // cells), patch)


def _values(stored: Any) -> list[float]:
    """Give what is stored of statistics as numbers; none where there are none, or on the meta device."""
    if stored is None or (isinstance(stored, Tensor) and stored.is_meta):
        return []
    return [float(value) for value in torch.as_tensor(stored, device="cpu").flatten().tolist()]


def _merge(values: Sequence[float]) -> Values:
    """Give one number where all are the same."""
    return values[0] if len(set(values)) == 1 else tuple(values)
