"""The text encoders of diffusers' pipelines: loaded, used, and released."""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from decinv.diffusion.prompt import Prompt
from decinv.weights import loading, refuse_incomplete, variant_of

LOGGER = logging.getLogger(__name__)


class TextEncoding(ABC):
    """How a kind of pipeline turns texts into embeddings."""

    def __init__(self, directory: Path, dtype: torch.dtype) -> None:
        """Take the pipeline's directory and the number format to compute in; nothing is loaded yet."""
        self.directory = directory
        self.dtype = dtype

    @abstractmethod
    def encode(self, texts: Sequence[str], device: torch.device) -> Prompt:
        """Load the encoders, encode the texts, and let go of the encoders."""

    def _run(self, suffix: str, kind: str, texts: Sequence[str], device: torch.device, length: int | None = None) -> Any:
        """Encode texts by one of the encoders; give its output on the device, which holds on to nothing of the encoder."""
        import transformers  # late: it takes seconds, and other jobs need none of it

        path = self.directory / f"text_encoder{suffix}"
        options = {"dtype": self.dtype, "use_safetensors": True, "variant": variant_of(path.glob("*.safetensors"))}
        with loading("tokenizer", self.directory / f"tokenizer{suffix}"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.directory / f"tokenizer{suffix}")
            length = length or tokenizer.model_max_length
            tokens = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        _tell_cut(tokenizer, texts, length)
        with loading(kind, path), _quiet(transformers):
            encoder, info = getattr(transformers, kind).from_pretrained(path, output_loading_info=True, **options)
        refuse_incomplete(encoder, info["missing_keys"], (), path)
        encoder = encoder.eval().to(device)
        mask = tokens.attention_mask.to(device) if getattr(encoder.config, "use_attention_mask", False) else None
        with torch.no_grad():
            return encoder(tokens.input_ids.to(device), attention_mask=mask, output_hidden_states=True)


class StableText(TextEncoding):
    """Stable Diffusion: the last layer of one CLIP encoder."""

    def encode(self, texts: Sequence[str], device: torch.device) -> Prompt:
        """Encode the texts."""
        return Prompt(self._run("", "CLIPTextModel", texts, device)[0].float())


class StableXLText(TextEncoding):
    """SDXL: the last but one layers of two CLIP encoders side by side, and the projection of the second one.

    A pipeline may have been saved without the first one.
    """

    def encode(self, texts: Sequence[str], device: torch.device) -> Prompt:
        """Encode the texts, with one encoder at a time in memory."""
        has_first = (self.directory / "text_encoder").is_dir()
        first = [self._run("", "CLIPTextModel", texts, device).hidden_states[-2].float()] if has_first else []
        output = self._run("_2", "CLIPTextModelWithProjection", texts, device)
        return Prompt(torch.cat([*first, output.hidden_states[-2].float()], dim=-1), output[0].float())


class LongText(TextEncoding):
    """Kinds with a T5 encoder, which takes long prompts."""

    def __init__(self, directory: Path, dtype: torch.dtype, length: int) -> None:
        """Take the number of tokens of the T5 encoder too."""
        super().__init__(directory, dtype)
        self.length = length


class FluxText(LongText):
    """Flux: a T5 encoder, and the pooled output of a CLIP encoder."""

    def encode(self, texts: Sequence[str], device: torch.device) -> Prompt:
        """Encode the texts, with one encoder at a time in memory."""
        pooled: Tensor = self._run("", "CLIPTextModel", texts, device).pooler_output.float()
        return Prompt(self._run("_2", "T5EncoderModel", texts, device, self.length)[0].float(), pooled)


class Stable3Text(LongText):
    """Stable Diffusion 3: the last but one layers of two CLIP encoders side by side, then a T5 encoder; both projections.

    Where a pipeline was saved without its T5 encoder, its tokens are 0, as in diffusers.
    """

    def encode(self, texts: Sequence[str], device: torch.device) -> Prompt:
        """Encode the texts, with one encoder at a time in memory."""
        first, second = (self._run(suffix, "CLIPTextModelWithProjection", texts, device) for suffix in ("", "_2"))
        clip = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1).float()
        if (self.directory / "text_encoder_3").is_dir():
            long = self._run("_3", "T5EncoderModel", texts, device, self.length)[0].float()
        else:
            config = json.loads((self.directory / "transformer" / "config.json").read_text(encoding="utf-8"))
            long = clip.new_zeros(len(texts), self.length, config["joint_attention_dim"])
        padded = functional.pad(clip, (0, long.shape[-1] - clip.shape[-1]))
        return Prompt(torch.cat([padded, long], dim=-2), torch.cat([first[0], second[0]], dim=-1).float())


def _tell_cut(tokenizer: Any, texts: Sequence[str], length: int) -> None:
    """Tell of texts with more tokens than the encoder takes, in the log, as diffusers does."""
    counts = [len(tokens) for tokens in tokenizer(list(texts), verbose=False).input_ids]
    cut = [(text, count) for text, count in zip(texts, counts, strict=True) if count > length]
    if cut:
        text, count = cut[0]
        LOGGER.warning(
            f"{len(cut)} of {len(texts)} prompts are cut to the {length} tokens that the text encoder takes, such as "
            f"{shorten(text, 60, placeholder=' ...')!r}, which has {count}."
        )


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep the progress of loading off the terminal."""
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
