"""A diffusion model from a directory or the hub: its scheduler's config, its prompts, and its network."""

import json
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from huggingface_hub import snapshot_download

from decinv.codecs.base import Codec
from decinv.diffusion.bundled import BUNDLED, pipeline_directory
from decinv.diffusion.captions import WORDS, unknown_words
from decinv.diffusion.denoiser import Denoiser
from decinv.diffusion.families import FAMILIES
from decinv.diffusion.prompt import Prompt
from decinv.diffusion.sampler import Sampler, Trajectory
from decinv.dtypes import Dtype, torch_dtype
from decinv.errors import reason
from decinv.memory import release
from decinv.weights import loading, refuse_incomplete, variant_of, without_weights

LOGGER = logging.getLogger(__name__)

WANTED = ("*.json", "*.txt", "*.model", "scheduler/*", "tokenizer*/*", "*/*.json", "*/*.safetensors")
"""Files of a pipeline on the hub that are used; weights outside folders and pickles are not."""

KEPT = 2**28
"""Bytes of embeddings that are kept for the next chunks, on the CPU."""


class Pipeline(ABC):
    """What of a diffusion model sampling needs. Its parts are loaded when they are first used.

    Attributes:
        config: The config of its scheduler.
        channels: Channels of its latents.
        patch: Side of the squares of latent cells that its network sees as one; sides of latents are multiples of it.
    """

    config: Mapping[str, Any]
    channels: int
    patch: int = 1

    @abstractmethod
    def encode(self, texts: Sequence[str | None], size: tuple[int, int], device: torch.device) -> Prompt:
        """Give prompts for images of a size.

        Args:
            texts: The prompts; ``None`` for the one that stands for no prompt in guidance.
            size: Height and width of the images in pixels.
            device: Where to compute.
        """

    @abstractmethod
    def denoiser(self, device: torch.device) -> Denoiser:
        """Give the network on a device."""

    def refuse_codec(self, codec: Codec) -> None:
        """Refuse a codec of other latents than the network's.

        Args:
            codec: The codec whose latents the network shall take.

        Raises:
            ValueError: If the network takes another number of channels.
        """
        if codec.latent_channels != self.channels:
            raise ValueError(
                f"Expected a codec with {self.channels} latent channels, which the pipeline's network takes, but got one with "
                f"{codec.latent_channels}; give the codec of that pipeline."
            )

    def refuse_cells(self, height: int, width: int) -> None:
        """Refuse latents that the network cannot cut into whole squares.

        Args:
            height: Height of the latents.
            width: Their width.

        Raises:
            ValueError: If a side is no multiple of ``patch``.
        """
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"Expected latents whose sides are multiples of {self.patch}, the network's patch, but got {height} x {width}; "
                f"pad or crop the images to multiples of {self.patch} times the codec's stride."
            )

    def trajectory(self, sampler: Sampler, cells: tuple[int, int] = (128, 128)) -> Trajectory:
        """Give the steps of a sampler on the pipeline's scheduler.

        Args:
            sampler: The sampler.
            cells: Height and width of a latent, on which times may depend, but neither the number nor the kind of steps.

        Raises:
            ValueError: If the sampler is of another kind than the scheduler.
        """
        height, width = cells
        tokens = None if self.patch == 1 else (height // self.patch) * (width // self.patch)
        return sampler.trajectory(self.config, tokens)


class DiffusersPipeline(Pipeline):
    """A pipeline saved by diffusers: Stable Diffusion 1.5, 2.1, 3, 3.5, SDXL, SDXL-turbo, Flux, InstaFlow, or the bundled one.

    Text encoders are loaded first, one at a time, and released; embeddings are kept, of many prompts those that were asked for
    last. The network is loaded after them. A chunk of images with new prompts has the text encoders loaded again.
    """

    def __init__(
        self,
        path: str = "bundled",
        dtype: Dtype = "float32",
        told_guidance: float | None = None,
        text_length: int | None = None,
        tf32: bool = False,
    ) -> None:
        """Look at the pipeline; nothing is loaded yet.

        Args:
            path: ``bundled``, ``bundled-flow`` for its few-step version, a directory saved by diffusers, or a hub id.
            dtype: Number format of the networks; latents are float32 all the same.
            told_guidance: Guidance scale that networks with guidance distilled into them, such as Flux-dev, are told; by
                default 3.5, as in diffusers. Others are told none.
            text_length: Tokens of the T5 encoder's prompts, at least 1; by default as in diffusers, 512 for Flux (256 for
                Flux-schnell in its authors' examples) and 256 for Stable Diffusion 3. Other kinds have no such encoder.
            tf32: Whether CUDA may round the factors of float32 convolutions to TF32, as torch lets it by default. That is
                faster, and no step can be inverted more exactly than the network is computed.

        Raises:
            FileNotFoundError: If there is no pipeline at ``path``.
            ValueError: If it is of a kind that is not supported, or has no use for an argument, or ``dtype`` is none.
        """
        self.path = path
        self.dtype = torch_dtype(dtype)
        self.directory = _find(path)
        index = _read(self.directory / "model_index.json")
        self._told_guidance = 3.5 if told_guidance is None else told_guidance
        self._tf32 = tf32
        family = next((family for family in FAMILIES if family.fits(index)), None)
        if family is None:
            raise ValueError(
                f"Expected Stable Diffusion 1 to 3, SDXL or Flux at {path!r}, but got {index.get('_class_name')!r}."
            )
        config = _read(self.directory / "scheduler" / "scheduler_config.json")
        network = _read(self.directory / family.folder / "config.json")
        family.refuse(network, index)
        if not without_weights():
            _refuse_lacking(self.directory, (family.folder, *family.parts(index)))
        if told_guidance is not None and not network.get("guidance_embeds"):
            raise ValueError(
                f"Expected no `told_guidance`, since the network of {path!r} is not told any, but got {told_guidance}; set the "
                "guidance scale of the inversion."
            )
        if text_length is not None and (family.long_text is None or text_length < 1):
            uses = "no" if family.long_text is None else "a positive"
            raise ValueError(f"Expected {uses} `text_length` for {index.get('_class_name')}, but got {text_length}.")
        self.config = family.schedule(config)
        self.channels, self.patch = family.channels(network), family.patch(network)
        self._zeros = bool(index.get("force_zeros_for_empty_prompt", family.zeros))
        self._family = family
        self._has_codec = family.has_codec(index)
        self._text = family.text(self.directory, self.dtype, text_length or family.long_text or 0)
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()
        self._denoiser: Denoiser | None = None

    def encode(self, texts: Sequence[str | None], size: tuple[int, int], device: torch.device) -> Prompt:
        """Give prompts for images of a size; texts that were not seen before are encoded."""
        new = sorted({text or "" for text in texts} - self._prompts.keys())
        if new:
            if self.path in BUNDLED:
                _tell_unknown(new)
            prompts = self._text.encode(new, device)
            for row, text in enumerate(new):
                self._prompts[text] = Prompt(*(None if part is None else part[row : row + 1].cpu() for part in prompts))  # type: ignore[arg-type]
            release()
        rows = [self._prompt(text) for text in texts]
        self._forget(len({text or "" for text in texts}))
        height, width = size
        pooled = [row.pooled for row in rows if row.pooled is not None]
        numbers = torch.tensor([[height, width, 0, 0, height, width]] * len(rows), dtype=torch.float32, device=device)
        return Prompt(
            torch.cat([row.embedding for row in rows]).to(device),
            torch.cat(pooled).to(device) if pooled else None,
            numbers if self._family.sized else None,
        )

    def refuse_codec(self, codec: Codec) -> None:
        """Refuse a codec of other latents than the network's, and the bundled one where the pipeline has its own.

        Raises:
            ValueError: If the codec is not that of the pipeline.
        """
        super().refuse_codec(codec)
        if codec.path == "bundled" and self._has_codec:
            raise ValueError(
                f"Expected the codec of the pipeline at {self.path!r}, which has its own, but got the bundled one, whose "
                "latents its network never saw; give that path to the codec too (`--model.codec.path`, `load_codec`)."
            )

    def _prompt(self, text: str | None) -> Prompt:
        self._prompts.move_to_end(text or "")
        prompt = self._prompts[text or ""]
        if text is None and self._zeros:
            return Prompt(*(None if part is None else torch.zeros_like(part) for part in prompt))  # type: ignore[arg-type]
        return prompt

    def _forget(self, used: int) -> None:
        """Let go of prompts beyond ``KEPT``, but of the last ``used``, those first that were not asked for the longest."""
        size = sum(part.nbytes for part in next(iter(self._prompts.values()), ()) if part is not None)
        while len(self._prompts) > used and len(self._prompts) * size > KEPT:
            self._prompts.popitem(last=False)

    def _load(self) -> Any:
        """Load the network.

        Raises:
            ValueError: If it cannot be loaded, or its weights are not whole.
        """
        kind, directory = self._family.network, self.directory / self._family.folder
        options = {"torch_dtype": self.dtype, "use_safetensors": True, "low_cpu_mem_usage": False}
        variant = variant_of(directory.glob("*.safetensors"))
        with loading(kind.__name__, directory):
            model, info = kind.from_pretrained(directory, variant=variant, output_loading_info=True, **options)
        refuse_incomplete(model, info["missing_keys"], info["unexpected_keys"], directory)
        for parameter in model.parameters():  # diffusers keeps the file's format where its first tensor has the model's
            parameter.data = parameter.data.to(self.dtype)
        return model

    def denoiser(self, device: torch.device) -> Denoiser:
        """Give the network on a device, loaded when first asked for."""
        if self._denoiser is None:
            model = self._load()
            self._denoiser = self._family.denoiser(model, self._tf32, self._told_guidance)
        return self._denoiser.to(device)


def _tell_unknown(texts: Sequence[str]) -> None:
    """Tell in the log of words that a bundled model never saw."""
    unknown = sorted({word for text in texts for word in unknown_words(text)})
    if unknown:
        LOGGER.warning(
            f"The bundled model was trained on the words {', '.join(WORDS)} alone; others in the prompts tell it nothing: "
            f"{shorten(', '.join(unknown), 80, placeholder=' ...')}."
        )


def _refuse_lacking(directory: Path, folders: Iterable[str]) -> None:
    """Refuse a pipeline without the files of its parts.

    Raises:
        FileNotFoundError: If a part has none.
    """
    for folder in folders:
        for wanted in ("tokenizer*.json",) if folder.startswith("tokenizer") else ("config.json", "*.safetensors"):
            if not any((directory / folder).glob(wanted)):
                raise FileNotFoundError(
                    f"Expected {wanted} in {directory / folder}, which the pipeline needs, but there is none."
                )


def _find(path: str) -> Path:
    """Give the directory of a pipeline, filled from the hub where it is not a local one."""
    local = path in BUNDLED or path.startswith((".", "/", "~")) or Path(path).is_dir()
    if not local and path.count("/") == 1:
        try:
            path = snapshot_download(path, allow_patterns=list(WANTED), ignore_patterns=["*.fp16.*", "*.non_ema.*"])
        except (OSError, ValueError) as error:
            raise FileNotFoundError(
                f"Expected a pipeline at the hub id {path!r}, of which there is no directory here, but got: {reason(error)}."
            ) from error
    return pipeline_directory(path)


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"Expected {file} as diffusers saves it, but got: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"Expected {file} as diffusers saves it, but it holds a {type(content).__name__}.")
    return content
