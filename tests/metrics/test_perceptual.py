import json
import sys

import pytest
import torch
import transformers

from decinv.metrics import ClipScore, lpips


def test_without_its_extra_lpips_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModuleNotFoundError, match=r"decinv\[lpips\]"):
        lpips(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))


@pytest.fixture(scope="module")
def clip_path(tmp_path_factory):
    """A tiny random CLIP model and a tokenizer of a few letters."""
    path = tmp_path_factory.mktemp("clip")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "projection_dim": 8}
    text = {**sizes, "vocab_size": 8, "max_position_embeddings": 6, "bos_token_id": 0, "eos_token_id": 1}
    vision = {**sizes, "image_size": 16, "patch_size": 8}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(path)
    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>", "a", "b"]
    (path / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return path


def test_clip_scores_are_cosines_of_the_models_embeddings(clip_path, images):
    score, image = ClipScore(str(clip_path)), images(2, 16, 16)
    values = score(image, ["a b", "b"])
    assert values.shape == (2,)
    assert bool(((values >= 0) & (values <= 100)).all())
    words = score.tokenizer(["b"], return_tensors="pt")
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = ((image[1:] + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        logits = score.model(pixel_values=pixels, **words).logits_per_image / score.model.logit_scale.exp()
    assert values[1].item() == pytest.approx(max(0.0, 100 * logits.item()), abs=1e-3)
    wide = torch.cat([-image[..., :4], image, -image[..., :4]], dim=3)
    assert score(wide, ["a b", "b"]).tolist() == pytest.approx(values.tolist(), abs=1e-3)
    assert score(image[:1], ["a b a b a b a b"]).isfinite().all()
    with pytest.raises(ValueError, match="1 texts and 2 images"):
        score(image, ["a"])
