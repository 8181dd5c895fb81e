import json
import shutil
import sys
from types import ModuleType

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from decinv.metrics import ClipScore, lpips
from decinv.metrics.perceptual import check_lpips


def test_without_its_extra_lpips_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModuleNotFoundError, match=r"decinv\[lpips\]"):
        lpips(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    with pytest.raises(ModuleNotFoundError, match=r"decinv\[lpips\]"):
        check_lpips()


def test_weights_of_lpips_that_cannot_be_loaded_are_one_sentence(monkeypatch):
    def download(*_):
        raise OSError("no network")

    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setattr("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", download)
    with pytest.raises(ValueError, match="weights of LPIPS's network, but got: no network;"):
        check_lpips()


def test_the_network_of_lpips_is_loaded_once_for_all_images(monkeypatch, images):
    loaded = []

    class Distance(torch.nn.Module):
        def __init__(self, kind):
            super().__init__()
            loaded.append(kind)

        def forward(self, preds, target):
            return (preds - target).abs().mean()

    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setattr("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", Distance)
    preds, target = images(3, 32, 32), images(3, 32, 32, seed=1)
    torch.testing.assert_close(lpips(preds, target), (preds - target).abs().mean((1, 2, 3)))
    assert loaded == ["alex"]


def test_images_too_small_for_lpips_are_refused():
    with pytest.raises(ValueError, match=r"at least 31 pixels, but got \(1, 3, 64, 30\)"):
        lpips(torch.zeros(1, 3, 64, 30), torch.zeros(1, 3, 64, 30))


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


@pytest.mark.parametrize("size", [(40, 40), (100, 33), (21, 60)])
def test_images_are_made_ready_as_clips_own_are(clip_path, images, size):
    grey = ((images(1, *size)[0].permute(1, 2, 0) + 1) * 127.5).round().byte()
    shape = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    expected = transformers.CLIPImageProcessorPil(**shape)(images=[grey.numpy()], return_tensors="pt").pixel_values
    found = ClipScore(str(clip_path))._pixels(grey.permute(2, 0, 1)[None] / 127.5 - 1, 16)
    assert float((found - expected).abs().mean()) < 0.01  # Pillow rounds to 8 bits after each direction of resizing


def test_clip_models_that_cannot_be_loaded_are_one_sentence(clip_path, tmp_path):
    with pytest.raises(ValueError, match=r"^Expected a CLIP model and its tokenizer at '.*none', but got: "):
        ClipScore(str(tmp_path / "none"))
    broken = shutil.copytree(clip_path, tmp_path / "broken")
    (broken / "model.safetensors").write_text("no weights")
    with pytest.raises(ValueError, match=r"^Expected a CLIP model and its tokenizer"):
        ClipScore(str(broken))
    weights = load_file(clip_path / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="1 of its weights are missing"):
        ClipScore(str(broken))
