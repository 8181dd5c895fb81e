import csv

import numpy as np
import pytest
import torch
from PIL import Image

from decinv.callbacks import Editing, ResultWriter
from decinv.codecs import LinearCodec
from decinv.diffusion import DDIM, DiffusersPipeline
from decinv.editing import MaskFiles, NullText, PromptMask, regenerate
from decinv.methods import NaiveInversion
from decinv.modules import DecoderInversion, EncodedLatent, SamplerInversion

PROMPTS = ["a red circle", "a blue square"]


@pytest.fixture
def module(saved_pipeline):
    def make(guidance=2.0):
        pipeline = DiffusersPipeline(str(saved_pipeline("stable")[0]))
        options = {"guidance": guidance, "prompt": "a red circle"}
        return SamplerInversion(LinearCodec(), pipeline, DDIM(2), NaiveInversion(), EncodedLatent(), **options)

    return make


def rows(tmp_path):
    with (tmp_path / "run" / "edits.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_is_edited_towards_every_prompt(fit, make_batch, module, tmp_path):
    batch = make_batch(["a/b.png", "../c"], sizes=((16, 16), (12, 16)))
    made, _, _ = fit([Editing(PROMPTS, mask=PromptMask(draws=1))], [batch], module=module())
    table = rows(tmp_path)
    assert sorted((row["name"], row["prompt"]) for row in table) == [
        (n, p) for n in ("../c", "a/b.png") for p in reversed(PROMPTS)
    ]
    stem = str(tmp_path / "run" / "edits" / "a" / "b.png")
    expected = {"b.png.csv", "b.png.sheet.png"} | {f"b.png.{k}{suffix}" for k in (0, 1) for suffix in (".png", ".mask.png")}
    assert {path.name for path in (tmp_path / "run" / "edits" / "a").iterdir()} == expected
    with Image.open(f"{stem}.0.png") as edit:  # the prompt that it was inverted with, so the image is sampled as it was
        same = np.asarray(edit)
    expected = ((made.reconstruction[0] + 1) * 127.5).round().permute(1, 2, 0).numpy()
    assert np.abs(same - expected).max() <= 1
    own = next(row for row in table if (row["name"], row["edit"]) == ("a/b.png", "0"))
    assert (float(own["edited"]), own["reason"]) == (0.0, "")
    (cut,) = (tmp_path / "run" / "edits").glob("c-*.1.png")
    with Image.open(cut) as edit:
        assert edit.size == (16, 12)


def test_images_too_small_for_a_measure_are_edited_without_it(fit, make_batch, module, tmp_path, monkeypatch):
    monkeypatch.setattr("decinv.callbacks.editing.check_lpips", lambda: None)
    monkeypatch.setattr("decinv.callbacks.editing.lpips", lambda edits, _: edits.flatten(1).mean(1))
    batch = make_batch(["large", "small"], side=32, sizes=((32, 31), (32, 10)))
    fit([Editing(PROMPTS, lpips=True)], [batch], module=module())
    measured = [(row["name"], bool(row["lpips"]), bool(row["background_ssim"]), row["reason"]) for row in rows(tmp_path)]
    assert measured == [("large", True, True, "")] * 2 + [("small", False, False, "")] * 2


def test_a_bad_mask_costs_no_other_image_its_edit(fit, make_batch, module, tmp_path):
    Image.new("L", (16, 16), 255).save(tmp_path / "good.png")
    masks = MaskFiles(str(tmp_path))
    fit([Editing(PROMPTS, mask=masks)], [make_batch(["bad", "good"])], module=module())
    first, _, third, _ = rows(tmp_path)
    assert (first["name"], first["background_nmse"]) == ("bad", "")
    assert "mask of 'bad'" in first["reason"]
    assert (third["name"], float(third["edited"]), third["reason"]) == ("good", 1.0, "")
    assert {third[name] for name in third if "background" in name or "nmse" in name} == {""}  # there is no background


def test_edits_that_do_not_fit_together_are_made_apart_and_cost_no_other_image_anything(
    fit, make_batch, module, tmp_path, monkeypatch
):
    made, fitting = [], [2]

    def limited(process, source, guidance, conditions, mask, strength):
        if len(conditions[0].prompt.embedding) > fitting[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return regenerate(process, source, guidance, conditions, mask, strength)

    monkeypatch.setattr("decinv.callbacks.editing.regenerate", limited)
    for fitting[0] in (2, 1):
        fit([Editing(PROMPTS, mask=PromptMask(draws=1))], [make_batch(["a"])], module=module())
        made.append([np.asarray(Image.open(tmp_path / "run" / "edits" / f"a.{number}.png")).astype(int) for number in (0, 1)])
    assert np.abs(np.array(made[0]) - np.array(made[1])).max() <= 1
    fitting[0] = 0
    editing = Editing(PROMPTS)
    fit([editing], [make_batch(["b"])], module=module())
    assert editing.failed
    assert all("does not fit into memory" in row["reason"] for row in rows(tmp_path) if row["name"] == "b")


def test_pasted_backgrounds_are_the_image_itself(fit, make_batch, module, tmp_path):
    mask = Image.new("L", (16, 16))
    mask.putpixel((5, 9), 255)
    mask.save(tmp_path / "mask.png")
    for paste in (False, True):
        fit(
            [Editing(PROMPTS[1:], mask=MaskFiles(str(tmp_path / "mask.png")), paste=paste)],
            [make_batch(["a"])],
            module=module(),
        )
        (row,) = rows(tmp_path)
        assert float(row["edited"]) == 1 / 16
        assert (float(row["background_nmse"]) == 0) is paste


def test_null_text_comes_closer_to_the_image_than_the_empty_prompt(fit, make_batch, module, tmp_path):
    errors = []
    for negative in (None, NullText(iterations=5)):
        editing = Editing(["a red circle"], guidance=20.0, negative=negative)
        fit([editing], [make_batch(["a"])], module=module(guidance=1.0))
        errors.append(float(rows(tmp_path)[0]["latent_nmse_db"]))
    assert errors[1] < errors[0] - 1


def test_what_cannot_be_edited_is_refused(fit, make_batch, module, codec):
    with pytest.raises(TypeError, match="SamplerInversion"):
        fit([Editing(PROMPTS)], [make_batch(["a"])], module=DecoderInversion(codec, max_iters=1))
    with pytest.raises(ValueError, match="`guidance` above 1"):
        fit([Editing(PROMPTS, negative=NullText())], [make_batch(["a"])], module=module(guidance=1.0))
    with pytest.raises(ValueError, match="Editing before ResultWriter"):
        fit([ResultWriter(), Editing(PROMPTS)], [make_batch(["a"])], module=module())
    with pytest.raises(ValueError, match="`prompts`"):
        Editing([])
    with pytest.raises(ValueError, match="`guidance`"):
        Editing(PROMPTS, guidance=-1.0)
    with pytest.raises(ValueError, match="Expected `mask` with `paste`"):
        Editing(PROMPTS, paste=True)


def test_images_without_noise_have_rows(fit, make_batch, module, tmp_path, monkeypatch):
    batch = make_batch(["nan", "fine"])
    batch.image[0] = torch.nan
    fit([Editing(PROMPTS[:1])], [batch], module=module())
    fine, bad = rows(tmp_path)
    assert (fine["name"], fine["reason"]) == ("fine", "")
    assert "noise" in bad["reason"]


def test_a_fit_is_not_told_of_an_earlier_ones_failures(fit, make_batch, module, tmp_path):
    Image.new("L", (16, 16), 255).save(tmp_path / "good.png")
    editing = Editing(PROMPTS[:1], mask=MaskFiles(str(tmp_path)))
    for name, failed in (("bad", True), ("good", False)):
        fit([editing], [make_batch([name])], module=module())
        assert editing.failed is failed
