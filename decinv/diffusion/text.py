"""The text conditioning of the bundled model: a CLIP tokenizer of whole words and a tiny CLIP text encoder."""

import json
from collections.abc import Sequence
from string import ascii_lowercase
from typing import TYPE_CHECKING

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from decinv.diffusion.captions import LONGEST

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"


def make_tokenizer(words: Sequence[str], length: int = LONGEST + 2) -> "CLIPTokenizer":
    """Learn byte pair merges until each word is one token.

    Letters are tokens too, so that words outside the vocabulary are spelled.

    Args:
        words: The vocabulary, in small letters a to z.
        length: Tokens that a prompt is padded or cut to, start and end included.
    """
    trainer = BpeTrainer(end_of_word_suffix="</w>", vocab_size=100_000, show_progress=False)
    learner = Tokenizer(BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = Whitespace()
    learner.train_from_iterator([" ".join(words)], trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens = [START, END, *ascii_lowercase, *(f"{letter}</w>" for letter in ascii_lowercase), *map("".join, merges)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    from transformers import CLIPTokenizer  # late: it takes seconds, and other jobs need none of it

    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=length)


def make_text_encoder(tokenizer: "CLIPTokenizer", width: int = 64, layers: int = 2, heads: int = 4) -> "CLIPTextModel":
    """Build a text encoder with random weights.

    Args:
        tokenizer: Says how many tokens there are and how many a prompt has.
        width: Size of an embedding, a multiple of ``heads``.
        layers: Transformer layers.
        heads: Heads of attention.
    """
    from transformers import CLIPTextConfig, CLIPTextModel  # late: it takes seconds, and other jobs need none of it

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def encode_prompts(tokenizer: "CLIPTokenizer", encoder: "CLIPTextModel", prompts: Sequence[str]) -> Tensor:
    """Embed prompts as Stable Diffusion does, ``(B, L, width)``: each padded or cut to the tokenizer's length, last layer."""
    tokens = tokenizer(
        list(prompts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    embedding: Tensor = encoder(tokens.input_ids.to(encoder.device)).last_hidden_state
    return embedding
