"""The kinds of pipelines that diffusers saves: which encoders and which network each has, and what it is told."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from decinv.diffusion.denoiser import Denoiser
from decinv.diffusion.encoders import FluxText, Stable3Text, StableText, StableXLText, TextEncoding
from decinv.diffusion.networks import FluxDenoiser, Stable3Denoiser, UNetDenoiser

ENCODING = ("text_encoder", "tokenizer")
"""What encodes prompts, in folders that are numbered from the second on."""

STEERING = ("controlnet", "adapter")
"""Parts by which a picture steers the network."""


class Family(ABC):
    """A kind of pipeline.

    Attributes:
        network: The class of its network.
        folder: Where in the pipeline's directory that lies.
        sized: Whether the network is told the size of the image.
        long_text: Tokens of a prompt for its T5 encoder in diffusers; ``None`` where the kind has no such encoder.
        zeros: Whether embeddings of 0 stand for no prompt where ``model_index.json`` does not say.
    """

    network: type[Any] = diffusers.UNet2DConditionModel
    folder: str = "unet"
    sized: bool = False
    long_text: int | None = None
    zeros: bool = False

    def schedule(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the scheduler's config as the pipeline has it, from the one in its directory."""
        return config

    def fits(self, index: Mapping[str, Any]) -> bool:
        """Whether the parts that a ``model_index.json`` names make a pipeline of this kind."""
        return _part(index, self.folder) == self.network.__name__

    @abstractmethod
    def text(self, directory: Path, dtype: torch.dtype, length: int) -> TextEncoding:
        """Give its way to encode texts, for a T5 encoder in ``length`` tokens."""

    @abstractmethod
    def denoiser(self, model: Any, tf32: bool, told_guidance: float) -> Denoiser:
        """Wrap its network."""

    def parts(self, index: Mapping[str, Any]) -> tuple[str, ...]:
        """Give the folders of the text encoders and tokenizers that a pipeline has."""
        return tuple(f"{kind}{suffix}" for suffix in ("", "_2", "_3") for kind in ENCODING if _part(index, f"{kind}{suffix}"))

    def has_codec(self, index: Mapping[str, Any]) -> bool:
        """Whether a ``model_index.json`` names an autoencoder."""
        return _part(index, "vae") is not None

    def refuse(self, config: Mapping[str, Any], index: Mapping[str, Any]) -> None:
        """Look at the network's config, and at the parts that a ``model_index.json`` names.

        Raises:
            ValueError: If the network takes more than points, times and prompts, or there is nothing that encodes prompts.
        """
        if steering := [part for part in STEERING if _part(index, part)]:
            raise ValueError(
                f"Expected a text-to-image pipeline, but {index.get('_class_name')} has the part `{steering[0]}`, by which a "
                "picture steers it; give the pipeline that it was added to."
            )
        if not config.get("in_channels"):
            raise ValueError(f"Expected `in_channels` in the config of {self.network.__name__}, but there is none.")
        if not self.parts(index):
            raise ValueError(f"Expected a pipeline with a text encoder, but {index.get('_class_name')} has none.")
        if config.get("out_channels") not in (None, config["in_channels"]):
            raise ValueError(
                f"Expected a text-to-image network, but it takes {config['in_channels']} channels and gives "
                f"{config['out_channels']}; give the pipeline that it was tuned from."
            )

    def channels(self, config: Mapping[str, Any]) -> int:
        """Give the channels of its latents, from the network's config."""
        return int(config["in_channels"])

    def patch(self, config: Mapping[str, Any]) -> int:
        """Give the side of the squares of latent cells that the network sees as one, from its config."""
        del config
        return 1


class Stable(Family):
    """Stable Diffusion 1.5 and 2.1, InstaFlow and the bundled model."""

    added: str | None = None
    """What the network is told beside the prompt, in its ``addition_embed_type``."""

    def schedule(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Set ``steps_offset`` to 1, as ``StableDiffusionPipeline`` does whatever the file says; 0 was left in old ones."""
        unsaid = () if "steps_offset" in config else ("steps_offset",)
        return {**config, "steps_offset": 1, "_use_default_values": unsaid}

    def refuse(self, config: Mapping[str, Any], index: Mapping[str, Any]) -> None:
        """Refuse networks that are told the guidance scale, classes or pictures too."""
        super().refuse(config, index)
        told = {name: config.get(name) for name in ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type")}
        if config.get("addition_embed_type") != self.added:
            told["addition_embed_type"] = config.get("addition_embed_type") or "none"
        if more := [name for name, value in told.items() if value is not None]:
            raise ValueError(
                f"Expected a network that is told times and prompts, but {index.get('_class_name')} has one with `{more[0]}` "
                f"{told[more[0]]!r}; give a text-to-image pipeline."
            )
        if config.get("time_cond_proj_dim") is not None:
            raise ValueError(
                "Expected a network that is not told the guidance scale, but its `time_cond_proj_dim` is set, as of latent "
                "consistency models; give the pipeline that it was distilled from."
            )

    def text(self, directory: Path, dtype: torch.dtype, length: int) -> TextEncoding:
        """One CLIP encoder."""
        return StableText(directory, dtype)

    def denoiser(self, model: Any, tf32: bool, told_guidance: float) -> Denoiser:
        """A UNet."""
        return UNetDenoiser(model, tf32)


class StableXL(Stable):
    """SDXL and SDXL-turbo."""

    sized = True
    zeros = True
    added = "text_time"

    def schedule(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Leave it as it is."""
        return config

    def refuse(self, config: Mapping[str, Any], index: Mapping[str, Any]) -> None:
        """Refuse the refiner, which is told an aesthetic score."""
        super().refuse(config, index)
        if index.get("requires_aesthetics_score"):
            raise ValueError("Expected a text-to-image pipeline, but got a refiner, which is told a score; give the base one.")

    def fits(self, index: Mapping[str, Any]) -> bool:
        """It has a second text encoder."""
        return super().fits(index) and _part(index, "text_encoder_2") is not None

    def text(self, directory: Path, dtype: torch.dtype, length: int) -> TextEncoding:
        """Two CLIP encoders."""
        return StableXLText(directory, dtype)


class Stable3(Family):
    """Stable Diffusion 3 and 3.5."""

    network = diffusers.SD3Transformer2DModel
    folder = "transformer"
    long_text = 256

    def text(self, directory: Path, dtype: torch.dtype, length: int) -> TextEncoding:
        """Two CLIP encoders and one of T5."""
        return Stable3Text(directory, dtype, length)

    def denoiser(self, model: Any, tf32: bool, told_guidance: float) -> Denoiser:
        """A transformer that cuts patches itself."""
        return Stable3Denoiser(model, tf32)

    def patch(self, config: Mapping[str, Any]) -> int:
        """As the network cuts them."""
        return int(config["patch_size"])


class Flux(Family):
    """Flux-schnell and Flux-dev."""

    network = diffusers.FluxTransformer2DModel
    folder = "transformer"
    long_text = 512

    def schedule(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give the largest shift of times a default, as ``FluxPipeline`` does, whose own differs from other pipelines'."""
        return {"max_shift": 1.15, **config}

    def text(self, directory: Path, dtype: torch.dtype, length: int) -> TextEncoding:
        """One CLIP encoder and one of T5."""
        return FluxText(directory, dtype, length)

    def denoiser(self, model: Any, tf32: bool, told_guidance: float) -> Denoiser:
        """A transformer of patches."""
        return FluxDenoiser(model, told_guidance)

    def channels(self, config: Mapping[str, Any]) -> int:
        """The network sees four cells as one."""
        return super().channels(config) // 4

    def patch(self, config: Mapping[str, Any]) -> int:
        """Two, which the network's config does not tell."""
        del config
        return 2


FAMILIES: tuple[Family, ...] = (StableXL(), Stable(), Stable3(), Flux())
"""All kinds; the first that fits is a pipeline's."""


def _part(index: Mapping[str, Any], name: str) -> str | None:
    """Give the class of a part; ``None`` where the pipeline has none."""
    found = index.get(name)
    kind = found[1] if isinstance(found, list) and len(found) == 2 else None
    return kind if isinstance(kind, str) else None
