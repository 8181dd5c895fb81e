"""The shipped codec is what its model card says, and the default inverts it."""

from functools import partial
from pathlib import Path

import pytest
import torch

import decinv
from decinv.codecs.loading import BUNDLED
from decinv.data import generate, procedural_batch
from decinv.data.generated import decode_rounded, draw_latent
from decinv.images.distortions import jpeg
from decinv.metrics import nmse_db, psnr_db
from decinv.updates import Anderson

PAPER_ADAM = Path(__file__).parents[1] / "configs" / "update" / "paper_adam.yaml"


@pytest.fixture(scope="module")
def codec():
    return decinv.load_codec("bundled")


def test_it_is_small_and_of_the_stated_kind(codec):
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) < 16e6
    assert type(codec.model).__name__ == "AutoencoderKL"
    assert (codec.stride, codec.latent_channels) == (8, 4)
    assert (BUNDLED / "README.md").is_file()


@torch.no_grad()
def test_it_reconstructs_held_out_images_in_their_colours(codec):
    images = procedural_batch(16, 64, seed=0)
    latent = codec.encode(images)
    decoded = codec.decode(latent).clamp(-1, 1)
    assert psnr_db(decoded, images).mean() > 23
    assert (decoded - images).mean(dim=(0, 2, 3)).abs().max() < 0.03
    assert codec.scaling.apply(latent).std() == pytest.approx(1, abs=0.1)


def test_the_default_finds_the_true_latents(codec):
    batch = generate(codec, count=2, size=64, seed=1000)
    truth = codec.scaling.apply(batch.latent)
    encoder = nmse_db(codec.scaling.apply(codec.encode(batch.image)), truth)
    few = decinv.invert(batch.image, codec, max_iters=5)
    many = decinv.invert(batch.image, codec, max_iters=20)
    few_db, many_db = (nmse_db(codec.scaling.apply(result.latent), truth) for result in (few, many))
    assert few_db.mean() < encoder.mean() - 6
    assert many_db.mean() < few_db.mean()
    assert (many_db < encoder + 0.5).all()
    assert all(status.ok for status in many.status)
    paper = decinv.invert(batch.image, codec, update=PAPER_ADAM, max_iters=20)
    assert few_db.mean() < nmse_db(codec.scaling.apply(paper.latent), truth).mean()


def test_blurred_images_end_no_worse_than_they_began(codec):
    """On these the encoder magnifies pixel errors, and both residuals fall while the latent error grows by up to 3 dB."""
    latent = torch.stack([draw_latent(codec, index, 64, seed=2000) for index in (5, 18, 19)])
    image, truth = decode_rounded(codec, latent), codec.scaling.apply(latent)
    encoder = nmse_db(codec.scaling.apply(codec.encode(image)), truth)
    rules = (Anderson, partial(Anderson, elsewhere=False), partial(Anderson, elsewhere=False, trust=float("inf")))
    for rule, largest in zip(rules, (0.5, 0.5, 5.0), strict=True):
        result = decinv.invert(image, codec, update=rule, max_iters=10)
        worse = (nmse_db(codec.scaling.apply(result.latent), truth) - encoder).max()
        assert worse < largest
    assert worse > 1, "without proof they do end worse"


def test_more_iterations_do_not_lose_what_a_few_find_of_compressed_images(codec):
    """They fitted more of what JPEG adds: after 30 the mean of these was 5.6 dB worse than E(x), and one image 13 dB."""
    batch = generate(codec, count=4, size=64, seed=5)
    truth = codec.scaling.apply(batch.latent)
    image = jpeg(batch.image, 75)
    encoder = nmse_db(codec.scaling.apply(codec.encode(image)), truth)
    few, many = (nmse_db(codec.scaling.apply(decinv.invert(image, codec, max_iters=count).latent), truth) for count in (8, 30))
    assert few.mean() < encoder.mean() - 3
    assert (many < few + 0.5).all()


def test_a_probe_finds_how_long_latents_are_which_the_codec_hardly_tells(codec):
    """What the decoder makes of a shorter latent is encoded nearly as that of the whole one."""
    batch = generate(codec, count=8, size=64, seed=5000)
    truth = codec.scaling.apply(batch.latent)
    with torch.no_grad():
        there, shorter = (codec.encode(codec.decode(codec.scaling.invert(part * truth))) for part in (1.0, 0.98))
    told = (codec.scaling.apply(there) - codec.scaling.apply(shorter)) * truth
    assert (told.flatten(1).sum(1) / (0.02 * truth.square()).flatten(1).sum(1)).median() < 0.4
    results = [decinv.invert(batch.image, codec, update=partial(Anderson, probe=probe), max_iters=12) for probe in (0.0, 0.1)]
    without, probed = (nmse_db(codec.scaling.apply(result.latent), truth).median() for result in results)
    assert probed < without - 3
