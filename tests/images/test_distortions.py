from functools import partial

import pytest
import torch
from skimage.filters import gaussian

from decinv.diffusion.noise import draw_noise
from decinv.images.distortions import (
    blur,
    brighten,
    compose,
    crop,
    crop_at_random,
    frame,
    jpeg,
    noise,
    resize,
    rotate,
)
from decinv.images.eight_bit import levels, round_to_8_bits
from decinv.images.jitter import jitter
from decinv.metrics import psnr_db

STRONG = {
    "jpeg": partial(jpeg, quality=50),
    "resize": partial(resize, factor=0.75),
    "crop": partial(crop, side=0.75),
    "frame": partial(frame, side=0.75),
    "crop at random": partial(crop_at_random, area=0.75),
    "rotate": partial(rotate, degrees=75),
    "blur": partial(blur, std=1.5),
    "noise": partial(noise, std=0.05),
    "jitter": partial(jitter, brightness=0.5, contrast=0.5, saturation=0.5),
    "brighten": partial(brighten, shift=0.1),
}
NOTHING = {
    "resize": partial(resize, factor=1.0),
    "crop": partial(crop, side=1.0),
    "frame": partial(frame, side=1.0),
    "crop at random": partial(crop_at_random, area=1.0),
    "rotate": partial(rotate, degrees=0),
    "blur": partial(blur, std=0),
    "noise": partial(noise, std=0.0),
    "jitter": jitter,
    "brighten": partial(brighten, shift=0.0),
    "compose": compose(),
}


@pytest.fixture
def smooth():
    """Two 8-bit images that vary slowly: a slope across the first and down the second."""
    slope = torch.linspace(-0.9, 0.9, 32).expand(3, 32, 32)
    return round_to_8_bits(torch.stack([slope, slope.mT]))


@pytest.mark.parametrize("name", NOTHING)
def test_strength_0_changes_nothing(images, name):
    image = round_to_8_bits(images(2, 24, 40))
    assert torch.equal(NOTHING[name](image), image)


@pytest.mark.parametrize("name", STRONG)
def test_results_are_8_bit_images_of_the_same_shape_and_repeat(images, name):
    image = images(2, 24, 40)
    before = image.clone()
    result = STRONG[name](image)
    assert torch.equal(image, before)
    assert torch.equal(STRONG[name](image), result)
    assert torch.equal(round_to_8_bits(result), result)
    assert result.shape == image.shape
    assert not torch.equal(result, round_to_8_bits(image))
    assert torch.equal(STRONG[name](image[:1]), result[:1])


def test_jpeg_errs_more_the_lower_its_quality(smooth):
    errors = [float(psnr_db(jpeg(smooth, quality), smooth).min()) for quality in (95, 75, 20)]
    assert errors[0] > 45
    assert errors == sorted(errors, reverse=True)


def test_resizing_blurs_fine_detail_only(smooth):
    stripes = round_to_8_bits(torch.tensor([-0.5, 0.5]).repeat(16).expand(1, 3, 32, 32))
    inner = slice(4, -4)
    assert (resize(smooth, 0.75) - smooth)[..., inner, inner].abs().max() < 0.02
    assert resize(stripes, 0.5)[..., inner, inner].abs().max() < 0.1


def test_noise_has_the_stated_deviation(images):
    grey = torch.zeros(2, 3, 128, 128)
    added = noise(grey, 0.05, seed=3) - grey
    # Half the step of 8 bits adds 1 / 255 / sqrt(12) to the deviation in squares, below a hundredth of it.
    assert float(added.std()) / 2 == pytest.approx(0.05, rel=0.02)
    assert float(added.mean()) == pytest.approx(0, abs=0.002)
    assert not torch.equal(added[0], added[1])
    assert not torch.equal(noise(grey, 0.05, seed=4) - grey, added)


def test_brightness_moves_every_value_up_to_white():
    image = round_to_8_bits(torch.tensor([-1.0, 0.0, 0.9]).expand(1, 3, 1, 3))
    assert (levels(brighten(image, 0.2)) - levels(image))[0, 0, 0].tolist() == [51, 51, 255 - 242]
    assert (levels(brighten(image, -0.2)) - levels(image))[0, 0, 0].tolist() == [0, -51, -51]


def test_frame_keeps_the_centre_where_it_is(images):
    image = round_to_8_bits(images(1, 16, 24))
    framed = frame(image, 0.75)
    assert torch.equal(framed[..., 2:14, 3:21], image[..., 2:14, 3:21])
    assert int((framed != -1).any(1).sum()) <= 12 * 18
    assert framed[..., :2, :].eq(-1).all()
    assert framed[..., :3].eq(-1).all()


def test_crop_magnifies_about_the_centre(smooth):
    # A slope through the centre becomes flatter by the part that is kept.
    cut = crop(smooth, 0.75)
    assert float((cut[0] - 0.75 * smooth[0])[..., 4:-4].abs().max()) < 0.01


def test_rotation_by_quarter_turns_moves_pixels(images):
    image = round_to_8_bits(images(2, 16, 16))
    assert torch.equal(rotate(image, 90), image.rot90(1, (2, 3)))
    assert torch.equal(rotate(image, 180), image.flip(2, 3))


def test_rotation_keeps_shapes_and_loses_corners():
    """A wide image, so that degrees are those of the picture and not of a square it is squeezed into."""
    image = torch.full((1, 3, 20, 60), -1.0)
    image[..., 8:12, :] = 1.0  # a horizontal bar
    turned = rotate(image, 90)[0, 0]
    assert turned[:, 28:32].min() == 1.0
    assert turned[:, :26].max() == turned[:, 34:].max() == -1.0
    rising = rotate(image, 20)[0, 0]  # counter-clockwise: its right half goes up
    assert rising[:8, 40].max() == 1.0
    assert rising[13:, 40].max() == -1.0
    assert rotate(torch.ones(1, 3, 20, 20), 45)[0, 0, 0, 0] == -1.0


def test_blur_is_that_of_scikit_image(images):
    image = images(1, 24, 40)
    expected = gaussian(image[0].numpy(), 1.5, mode="nearest", truncate=4.0, channel_axis=0)
    assert float((blur(image, 1.5)[0] - torch.from_numpy(expected)).abs().max()) < 1.01 / 255


def test_random_crops_lie_inside_and_differ_by_number(smooth):
    slope = smooth[:1].expand(40, -1, -1, -1)
    cut = crop_at_random(slope, area=0.25, seed=1)
    inner = cut[..., 4:-4].mean((1, 2, 3))  # of a slope, where the rectangle lay
    assert inner.unique().numel() > 5
    assert float(inner.abs().max()) < 0.5
    gain = (cut[..., 24] - cut[..., 8]) / (slope[..., 24] - slope[..., 8])
    assert gain.mean() == pytest.approx(0.5, abs=0.02)
    narrow = crop_at_random(slope, area=0.5, ratio=0.5)  # the whole height and half the width
    assert ((narrow[..., 24] - narrow[..., 8]) / (slope[..., 24] - slope[..., 8])).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "distort", [partial(noise, std=0.1), partial(jitter, brightness=0.5), partial(crop_at_random, area=0.5)]
)
def test_what_is_random_depends_on_the_number_and_not_on_the_batch(images, distort):
    image = images(3)
    together = distort(image, seed=2, numbers=[7, 8, 9])
    assert torch.equal(distort(image[1:2], seed=2, numbers=[8]), together[1:2])
    assert torch.equal(distort(image, seed=2, numbers=[0, 1, 2]), distort(image, seed=2))
    assert not torch.equal(distort(image, seed=3, numbers=[7, 8, 9]), together)
    assert distort(image[:0]).shape == image[:0].shape


@pytest.mark.parametrize("name", STRONG)
def test_of_no_images_there_are_none(images, name):
    """JPEG and rotation broke."""
    nothing = STRONG[name](images(1)[:0].double())
    assert nothing.shape == images(1)[:0].shape
    assert nothing.dtype == torch.float32


def test_the_noise_of_an_attack_is_not_that_which_the_image_was_sampled_from():
    added = noise(torch.zeros(1, 3, 64, 64), 0.05, seed=5, numbers=[7])
    for seed in ((5, 7), (5, 7, 1)):  # of images, and of the benchmark's unmarked ones
        drawn = draw_noise((3, 64, 64), *seed)
        assert abs(float(torch.corrcoef(torch.stack([added.flatten(), drawn.flatten()]))[0, 1])) < 0.05


def test_jitter_multiplies_as_stated():
    grey = round_to_8_bits(torch.full((200, 3, 4, 4), -0.5))
    factor = ((jitter(grey, brightness=0.5) + 1) / (grey + 1))[:, 0, 0, 0]
    assert float(factor.min()) >= 0.49
    assert float(factor.max()) <= 1.51
    assert float(factor.mean()) == pytest.approx(1, abs=0.06)
    assert torch.equal(jitter(grey, contrast=0.9, saturation=0.9), grey)
    image = round_to_8_bits(torch.tensor([-1.0, 0.0, 0.5])[:, None, None].expand(1, 3, 2, 2))
    assert jitter(image, saturation=0.9).std() != image.std()
    weights = torch.tensor([0.299, 0.587, 0.114])
    assert float(weights @ jitter(image, saturation=0.5)[0, :, 0, 0]) == pytest.approx(
        float(weights @ image[0, :, 0, 0]), abs=0.01
    )


def test_composition_goes_from_first_to_last(images):
    image = images(1)
    both = compose(partial(brighten, shift=0.1), partial(frame, side=0.5))
    assert torch.equal(both(image), frame(brighten(image, 0.1), 0.5))
    assert not torch.equal(both(image), brighten(frame(image, 0.5), 0.1))


@pytest.mark.parametrize(
    ("distort", "message"),
    [
        (partial(jpeg, quality=0), "quality"),
        (partial(resize, factor=0.0), "factor"),
        (partial(crop, side=1.5), "side"),
        (partial(frame, side=0.0), "side"),
        (partial(noise, std=-1.0), "std"),
        (partial(blur, std=-1.0), "std"),
        (partial(crop_at_random, area=0.0), "area"),
        (partial(crop_at_random, area=0.5, ratio=2.1), "area"),
    ],
)
def test_strengths_out_of_range_are_refused(images, distort, message):
    with pytest.raises(ValueError, match=f"Expected `{message}`"):
        distort(images(1))
