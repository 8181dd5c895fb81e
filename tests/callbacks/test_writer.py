import csv
import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from decinv.batch import Batch, Failure
from decinv.callbacks import ResultWriter
from decinv.metrics import nmse_db, psnr_db
from decinv.modules import DecoderInversion, EncoderInversion
from decinv.rows import Row
from decinv.runs.latents import names_in
from decinv.updates import ForwardStep


def table(tmp_path):
    with (tmp_path / "run" / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def latent_of(tmp_path, name):
    (row,) = (row for row in table(tmp_path) if row["name"] == name)
    with safe_open(tmp_path / "run" / row["latents"], "pt") as file:
        metadata = file.metadata()
        return file.get_tensor(name), metadata | json.loads(metadata.pop("samples"))[name]


def test_a_run_leaves_its_files(fit, make_batch, codec, tmp_path):
    odd = 'comma, "quote"\nnewline é 猫'
    first = make_batch(["a/b.png", odd], sizes=((16, 16), (10, 13)), failures=(Failure("bad, indeed", "It is\nno image."),))
    second = make_batch(["c"], seed=1, known=False)
    module, _, _ = fit([ResultWriter()], [first, second])
    rows = table(tmp_path)
    assert tuple(rows[0]) == Row._fields
    assert [row["name"] for row in rows] == ["a/b.png", odd, "bad, indeed", "c"]
    assert [row["status"] for row in rows] == ["MAX_ITERS", "MAX_ITERS", "UNREADABLE", "MAX_ITERS"]
    assert rows[2] == dict.fromkeys(Row._fields, "") | {
        "name": "bad, indeed",
        "status": "UNREADABLE",
        "number": "2",
        "reason": "It is\nno image.",
    }
    assert rows[3]["nmse_db"] == rows[3]["peak_mib"] == rows[3]["reason"] == ""
    assert rows[0]["iterations"] == rows[0]["evaluations"] == "6"

    latent, metadata = latent_of(tmp_path, "c")
    assert torch.equal(latent, module.result.latent[0])
    assert latent.dtype == torch.float32
    assert metadata == {
        "status": "MAX_ITERS",
        "residual": float(module.result.residual[0]),
        "codec": "",
        "scaling_factor": "0.5",
        "shift_factor": "0.25",
        "height": 16,
        "width": 16,
    }
    for index, name in enumerate(("a/b.png", odd)):
        latent, _ = latent_of(tmp_path, name)
        height, width = first.size(index)
        truth, image = first.latent[index], first.image[index, :, :height, :width]
        nmse = nmse_db(codec.scaling.apply(latent)[None], codec.scaling.apply(truth)[None]).item()
        psnr = psnr_db(codec.decode(latent[None]).clamp(-1, 1)[..., :height, :width], image[None]).item()
        start = codec.decode(codec.encode(first.image)).clamp(-1, 1)[index, :, :height, :width]
        assert float(rows[index]["nmse_db"]) == pytest.approx(nmse, rel=1e-4)
        assert float(rows[index]["psnr_db"]) == pytest.approx(psnr, rel=1e-4)
        assert float(rows[index]["encoder_psnr_db"]) == pytest.approx(psnr_db(start[None], image[None]).item(), rel=1e-4)
        with Image.open(tmp_path / "run" / "reconstructions" / f"{name}.png") as picture:
            assert (picture.size, picture.mode) == ((width, height), "RGB")
            pixels = torch.tensor(list(picture.tobytes())).view(height, width, 3).permute(2, 0, 1)
        exact = (codec.decode(latent[None])[0, :, :height, :width].clamp(-1, 1) + 1) * 127.5
        assert (pixels - exact).abs().max() <= 0.5001
    assert not list((tmp_path / "run").rglob("*.part"))


def test_the_encoders_reconstruction_is_not_decoded_twice(fit, make_batch, codec, tmp_path, monkeypatch):
    batch = make_batch(["a", "b"])
    codec.try_out(batch.image)  # which decodes, too, but once for a codec
    decoded = []
    decode = codec.decode
    monkeypatch.setattr(codec, "decode", lambda latent: decoded.append(len(latent)) or decode(latent))
    fit([ResultWriter()], [batch], module=EncoderInversion(codec))
    assert decoded == [2, 2]  # the one step, and the reconstruction
    rows = table(tmp_path)
    assert rows[0]["encoder_psnr_db"] == rows[0]["psnr_db"] != ""


def test_options_switch_files_off(fit, make_batch, tmp_path):
    fit([ResultWriter(latents=False, reconstructions=False, encoder_psnr=False)], [make_batch(["a"])])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["inputs.jsonl", "results.csv", "tables"]
    assert table(tmp_path)[0]["encoder_psnr_db"] == ""


@pytest.mark.parametrize("left", ["results.csv", "latents", "tables"])
def test_nothing_is_overwritten(fit, make_batch, tmp_path, left):
    (tmp_path / "run" / left).mkdir(parents=True)
    with pytest.raises(FileExistsError, match=rf"{left} exists; choose another --out"):
        fit([ResultWriter()], [make_batch(["a"])])


def test_a_sample_without_a_finite_latent_has_a_row_and_no_files(fit, make_batch, tmp_path):
    batch = make_batch(["good", "bad"], known=False)
    batch.image[1, 0, 0, 0] = torch.nan
    fit([ResultWriter()], [batch])
    good, bad = table(tmp_path)
    assert good["status"] == "MAX_ITERS"
    assert float(good["encoder_psnr_db"]) > 0
    assert (bad["status"], bad["residual"], bad["psnr_db"]) == ("DIVERGED", "", "")
    assert "is not finite" in bad["reason"]
    assert bad["latents"] == ""
    assert names_in(tmp_path / "run" / good["latents"]) == {"good"}


def test_chunks_without_a_sample_give_rows(fit, codec, tmp_path):
    empty = Batch(torch.zeros(0, 3, 16, 16), (), failures=(Failure("x", "Gone."),))
    fit([ResultWriter()], [empty])
    assert [(row["name"], row["reason"]) for row in table(tmp_path)] == [("x", "Gone.")]


def test_exact_results_are_infinite(fit, codec, tmp_path):
    latent = torch.zeros(1, 4, 4, 4)
    latent[0, 0] = 0.5
    module = DecoderInversion(codec, ForwardStep, 1, 0.0, None)
    image = codec.decode(codec.encode(codec.decode(latent)))
    batch = Batch(image, ("a",), codec.encode(image))
    fit([ResultWriter()], [batch], module=module)
    assert table(tmp_path)[0]["nmse_db"] == "-inf"


def test_a_codec_that_overflows_on_one_sample_costs_the_others_nothing(make_batch, fit, codec, tmp_path):
    """As float16 does in some autoencoders."""

    class Overflowing(type(codec)):
        def _encode(self, image):
            latent = super()._encode(image)
            latent[image[:, 0, 0, 0] == -1] = torch.inf
            return latent

    batch = make_batch(["a", "bad", "b"], known=False)
    batch.image[1, 0, 0, 0] = -1
    module = DecoderInversion(Overflowing(), ForwardStep, 30, 1e-4, None)
    fit([ResultWriter()], [batch], module=module)
    rows = {row["name"]: row for row in table(tmp_path)}
    assert (rows["a"]["status"], rows["bad"]["status"], rows["b"]["status"]) == ("CONVERGED", "DIVERGED", "CONVERGED")
    assert "Set the codec's `dtype` to bfloat16 or float32" in rows["bad"]["reason"]
    assert (rows["bad"]["latents"], rows["bad"]["iterations"]) == ("", "1")
