from functools import partial

import pytest
import torch

from decinv.images.distortions import brighten, compose, crop, frame, jpeg, noise, resize
from decinv.images.eight_bit import levels, round_to_8_bits
from decinv.metrics import psnr_db

STRONG = {
    "jpeg": partial(jpeg, quality=50),
    "resize": partial(resize, factor=0.75),
    "crop": partial(crop, side=0.75),
    "frame": partial(frame, side=0.75),
    "noise": partial(noise, std=0.05),
    "brighten": partial(brighten, shift=0.1),
}
NOTHING = {
    "resize": partial(resize, factor=1.0),
    "crop": partial(crop, side=1.0),
    "frame": partial(frame, side=1.0),
    "noise": partial(noise, std=0.0),
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
    ],
)
def test_strengths_out_of_range_are_refused(images, distort, message):
    with pytest.raises(ValueError, match=f"Expected `{message}`"):
        distort(images(1))
