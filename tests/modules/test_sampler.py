"""From images to noise and back within one fit."""

import pytest
import torch
from lightning import Trainer
from PIL import Image

from decinv import Status
from decinv.batch import Batch
from decinv.callbacks import ResultWriter
from decinv.codecs import AutoencoderCodec, LinearCodec, Scaling
from decinv.data import GeneratedData, GeneratedNoise, ImageData
from decinv.diffusion import BDIA, DDIM, EDICT, DiffusersPipeline, DPMSolver, EulerAncestral, FlowEuler, Stable3Euler
from decinv.methods import Algorithm1, ExactInversion, NaiveInversion, PairInversion
from decinv.metrics.latent import nmse_db
from decinv.modules import DecodedLatent, EncodedLatent, GradientLatent, KnownLatent, SamplerInversion
from decinv.rows import image_psnr_db
from decinv.runs import RunDirectory

PROMPTS = ["a red circle", "a blue square on a red background"]


def linear():
    """Make a codec whose images stay far from saturation."""
    codec = LinearCodec(stride=4)
    codec.scaling = Scaling(30.0)
    return codec


@pytest.fixture
def fit(tmp_path, saved_pipeline):
    """Run an inversion on generated images; give module and run directory."""

    def run(sampler, codec=None, kind="stable", data=None, **options):
        pipeline = DiffusersPipeline(str(saved_pipeline(kind)[0]))
        module = SamplerInversion(codec or linear(), pipeline, sampler, **options)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=-1,
            logger=False,
            default_root_dir=tmp_path,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            callbacks=[ResultWriter(reconstructions=False)],
        )
        trainer.fit(module, data or GeneratedNoise(2, 32, batch_size=2, prompts=PROMPTS))
        return module, RunDirectory(tmp_path), trainer

    return run


@pytest.mark.parametrize("sampler", [DDIM(3), DPMSolver(3), BDIA(3)], ids=["ddim", "2m", "bdia"])
def test_noise_is_found_from_true_latents(fit, sampler):
    method = PairInversion() if isinstance(sampler, BDIA) else ExactInversion()
    module, run, trainer = fit(sampler, guidance=2.0, decoder=KnownLatent(), method=method)
    rows = list(run.rows())
    assert [row.status for row in rows] == [Status.CONVERGED] * 2
    for index, row in enumerate(rows):
        assert row.noise_nmse_db < -60
        assert row.psnr_db > 50  # of 58.9 that rounding to 8 bits leaves
        assert row.round_trip_nmse_db < -10
        assert row.nmse_db == float("-inf")
        torch.testing.assert_close(run.noise(row), module.result.noise[index])
        torch.testing.assert_close(run.latent(row), module.batch.latent[index])
        assert row.evaluations == int(module._process.spent[index])
    assert module.batch.prompts == tuple(PROMPTS)
    assert (trainer.global_step > 0) != isinstance(sampler, BDIA)


def test_a_row_says_when_its_noise_leads_to_another_latent(fit):
    exact, loose = ExactInversion(), ExactInversion(rtol=0.5)
    for method, told in ((exact, False), (loose, True)):
        module, run, _ = fit(DDIM(2), guidance=4.0, decoder=KnownLatent(), method=method)
        again = module._process.generate(module.result.noise)
        departure = nmse_db(again, module.codec.scaling.apply(module.result.latent)).tolist()
        for row, number in zip(run.rows(), departure, strict=True):
            assert row.status is Status.CONVERGED
            assert (number > -20) is told
            assert (f"is another (NMSE {number:.1f} dB)" in row.reason) is told
            assert bool(row.reason) is told
        run.delete()


def test_end_to_end_from_eight_bits(fit):
    module, run, _ = fit(DDIM(4), guidance=2.0)
    truth = module.batch
    for index, row in enumerate(run.rows()):
        assert row.nmse_db < -20
        assert row.noise_nmse_db < -10
        assert row.evaluations > int(module._process.spent[index])
        assert row.psnr_db > 20
    assert module.reconstruction.shape == truth.image.shape


@pytest.mark.parametrize("decoder", [EncodedLatent(), GradientLatent(max_iters=3), DecodedLatent(max_iters=4)])
def test_latents_come_from_any_decoder_inversion(fit, decoder):
    module, run, _ = fit(DDIM(2), guidance=1.0, decoder=decoder, method=NaiveInversion())
    rows = list(run.rows())
    steps = decoder.stopping.max_iters
    encoded = module.codec.decode(module.codec.encode(module.batch.image)).clamp(-1, 1)
    assert [row.encoder_psnr_db for row in rows] == pytest.approx(image_psnr_db(module.batch, encoded), rel=1e-4)
    assert all(row.evaluations <= steps + 2 for row in rows)
    assert len(module.result.history) <= steps + 2
    assert module.max_iters == steps + 2


def test_prompts_known_unknown_and_negative(fit):
    module, run, _ = fit(DDIM(1), guidance=1.0, decoder=KnownLatent(), prompt="", method=NaiveInversion())
    embedding = module._process.condition.prompt.embedding
    assert torch.equal(embedding[0], embedding[1])
    assert module._process.condition.negative is None
    run.delete()
    options = {"guidance": 3.0, "negative_prompt": "a blue circle", "method": NaiveInversion()}
    module, *_ = fit(DDIM(1), decoder=KnownLatent(), **options)
    condition = module._process.condition
    assert not torch.equal(condition.prompt.embedding[0], condition.prompt.embedding[1])
    expected = module.pipeline.encode(["a blue circle"], (32, 32), module.device)
    assert torch.equal(condition.negative.embedding[0], expected.embedding[0])


def test_images_of_a_manifest_have_prompts_of_their_own(fit, tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (32, 32), (200, 40, 40)).save(tmp_path / f"{name}.png")
    (tmp_path / "list.csv").write_text(f"path,prompt\na.png,{PROMPTS[0]}\nb.png,{PROMPTS[1]}\n")
    data = ImageData(str(tmp_path / "list.csv"), batch_size=2)
    options = {"guidance": 1.0, "decoder": EncodedLatent(), "method": NaiveInversion()}
    module, run, _ = fit(DDIM(1), data=data, **options)
    expected = module.pipeline.encode(PROMPTS, (32, 32), module.device).embedding
    assert torch.equal(module._process.condition.prompt.embedding, expected)
    assert [item.prompt for item in run.inputs(list)] == PROMPTS  # for those that start again
    first, second = (run.noise(row) for row in run.rows())
    assert not torch.equal(first, second)
    run.delete()
    module, *_ = fit(DDIM(1), data=ImageData(str(tmp_path / "list.csv"), batch_size=2), prompt=PROMPTS[1], **options)
    assert torch.equal(module._process.condition.prompt.embedding, expected[[1, 1]])


def test_ancestral_noise_is_drawn_by_its_seed(fit):
    _, run, _ = fit(EulerAncestral(2, "trailing"), kind="turbo", guidance=0.0, decoder=KnownLatent(), noise_seed=3)
    assert max(row.noise_nmse_db for row in run.rows()) < -40


def test_images_of_unknown_origin_have_no_truth(fit):
    data = GeneratedData(2, 32, batch_size=2, perturbation=0.0)
    _, run, _ = fit(DDIM(2), data=data, guidance=1.0, decoder=DecodedLatent(max_iters=3), method=NaiveInversion())
    for row in run.rows():
        assert row.noise_nmse_db is None
        assert row.round_trip_nmse_db is not None


def test_a_method_that_does_not_fit_the_sampler_is_refused_before_anything_is_solved(fit, monkeypatch):
    monkeypatch.setattr(SamplerInversion, "begin", lambda module, batch: pytest.fail("begun"))
    for sampler, method, advice in (
        (EDICT(2), ExactInversion(), "PairInversion"),
        (DDIM(2), PairInversion(), "ExactInversion"),
        (DPMSolver(3), Algorithm1(), "WholeTrajectory"),
    ):
        with pytest.raises(ValueError, match=advice):
            fit(sampler, method=method)


@pytest.mark.parametrize("options", [{"guidance": float("inf")}, {"guidance": float("nan")}, {"noise_seed": -1}], ids=str)
def test_options_out_of_range_are_refused_as_in_python(fit, options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}` to be at least 0"):
        fit(DDIM(2), **options)


def test_a_codec_of_other_latents_is_refused_before_anything_is_solved(fit, monkeypatch):
    monkeypatch.setattr(SamplerInversion, "training_step", lambda *_: pytest.fail("solved"))
    with pytest.raises(ValueError, match=r"Expected a codec with 4 latent channels, .* but got one with 3"):
        fit(DDIM(3), LinearCodec((0.5,) * 3, stride=4))


def test_images_of_unknown_companions_are_inverted_all_the_same(fit):
    module, run, _ = fit(BDIA(2), guidance=1.0, decoder=DecodedLatent(max_iters=3), method=PairInversion())
    assert module._process.companion is None
    assert module.batch.companion is not None
    assert all(row.residual > 1e-6 and row.noise_nmse_db < 0 for row in run.rows())


def test_known_latents_must_be_known(fit, images):
    module, *_ = fit(DDIM(1), guidance=1.0, decoder=KnownLatent(), method=NaiveInversion())
    with pytest.raises(ValueError, match="true latents"):
        module.begin(Batch(images(1, 32, 32), ("one",)))


def test_a_codec_and_a_pipeline_of_one_directory(fit, saved_pipeline):
    codec = AutoencoderCodec(str(saved_pipeline("stable")[0]))
    _, run, _ = fit(DDIM(2), codec=codec, guidance=1.0, decoder=EncodedLatent(), method=NaiveInversion())
    assert len(list(run.rows())) == 2


@pytest.mark.parametrize(("kind", "sampler"), [("flux", FlowEuler(2)), ("three", Stable3Euler(2))])
def test_images_are_padded_to_whole_patches(fit, saved_pipeline, tmp_path, kind, sampler):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size in (("odd", (18, 22)), ("even", (20, 24))):
        Image.effect_noise(size, 50).convert("RGB").save(folder / f"{name}.png")
    codec = AutoencoderCodec(str(saved_pipeline(kind)[0]))
    options = {"decoder": EncodedLatent(), "method": ExactInversion(), "data": ImageData(str(folder))}
    _, run, _ = fit(sampler, codec=codec, kind=kind, guidance=2.0, **options)
    for row in run.rows():
        assert row.residual < 1e-5
        assert run.noise(row).shape == (4, 12, 10)
    assert {row.name for row in run.rows()} == {"odd.png", "even.png"}


def test_generated_images_of_odd_patches_are_refused(fit, saved_pipeline):
    codec = AutoencoderCodec(str(saved_pipeline("flux")[0]))
    with pytest.raises(ValueError, match="`size` to be a multiple of 4, which codec and network take, but got 18"):
        fit(FlowEuler(2), codec=codec, kind="flux", data=GeneratedNoise(2, 18))


def test_the_encoders_latent_says_nothing_about_the_samplers_inversion(fit):
    _, run, _ = fit(DDIM(3), guidance=1.0, decoder=EncodedLatent())
    assert {row.status for row in run.rows()} == {Status.CONVERGED}
