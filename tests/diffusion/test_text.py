import pytest
import torch
from transformers import CLIPTokenizer

from decinv.diffusion.captions import LONGEST, WORDS
from decinv.diffusion.text import encode_prompts, make_text_encoder, make_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(WORDS)


def test_each_word_is_one_token(tokenizer):
    for word in WORDS:
        start, token, end = tokenizer(word).input_ids
        assert (start, end) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert tokenizer.convert_ids_to_tokens(token) == f"{word}</w>"


def test_other_words_are_spelled(tokenizer):
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("a RED zoo").input_ids)
    assert tokens == ["<|startoftext|>", "a</w>", "red</w>", "z", "o", "o</w>", "<|endoftext|>"]


def test_it_comes_back_from_disk(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert again.model_max_length == LONGEST + 2
    assert again("a red zoo").input_ids == tokenizer("a red zoo").input_ids


def test_prompts_are_padded_and_cut_to_one_length(tokenizer):
    with torch.random.fork_rng():
        encoder = make_text_encoder(tokenizer, width=8, layers=1, heads=2)
    assert encoder.config.eos_token_id == tokenizer.eos_token_id
    embedding = encode_prompts(tokenizer, encoder, ["", "a red star", "a " * 40])
    assert embedding.shape == (3, LONGEST + 2, 8)
    alone = encode_prompts(tokenizer, encoder, ["a red star"])
    torch.testing.assert_close(embedding[1:2], alone, rtol=0, atol=1e-6)
    assert (embedding[0] - embedding[1]).abs().max() > 1e-3
