from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image, ImageEnhance

from decinv.images.attacks import Attack, CropAndScale, GaussianBlur, GaussianNoise, InTurn, Jitter, Jpeg, Resize, Rotation
from decinv.images.distortions import Draws, blur, crop_at_random, generators, jpeg, noise, resize, rotate
from decinv.images.eight_bit import levels, round_to_8_bits, to_picture
from decinv.images.jitter import jitter

CONFIGS = Path(__file__).parents[2] / "configs" / "attacks"


def load(path):
    """Read named attacks as the command line does."""

    def job(attacks: dict[str, Attack]):
        return attacks

    parser = ArgumentParser()
    parser.add_function_arguments(job, sub_configs=True)
    return parser.instantiate(parser.parse_args([f"--attacks={path}"])).attacks


def test_the_papers_attacks_are_the_defaults():
    expected = (InTurn([]), Rotation(), Jpeg(), CropAndScale(), GaussianBlur(), GaussianNoise(), Jitter())
    names = ("none", "rotation", "jpeg", "crop_and_scale", "blur", "noise", "brightness")
    assert load(CONFIGS / "paper.yaml") == dict(zip(names, expected, strict=True))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_attack_fragments(path, images):
    image = round_to_8_bits(images(2, 24, 40))
    for name, attack in load(path).items():
        attacked = attack(image, [3, 4])
        assert attacked.shape == image.shape
        assert torch.equal(attacked, image) == (name == "none")
        assert torch.equal(attack(image[1:], [4]), attacked[1:])


def test_the_papers_attacks_are_those_of_its_scripts(images):
    """Strengths of the released scripts, by Pillow; its crop keeps the whole height and three quarters of the width."""
    image = round_to_8_bits(images(1, 64, 64))
    picture, attacks = Image.fromarray(to_picture(image[0])), load(CONFIGS / "paper.yaml")

    def found(name):
        return levels(attacks[name](image, [5]))[0].movedim(0, -1)

    def off(name, expected, inner=slice(None)):
        return float((found(name) - torch.from_numpy(np.array(expected)))[inner, inner].abs().max())

    file = BytesIO()
    picture.save(file, "JPEG", quality=25)
    assert off("jpeg", Image.open(file)) == 0
    assert off("rotation", picture.rotate(75, Image.Resampling.BILINEAR), slice(20, 44)) <= 1
    crops = [picture.crop((left, 0, left + 48, 64)).resize((64, 64), Image.Resampling.BICUBIC) for left in range(17)]
    assert min(off("crop_and_scale", one) for one in crops) <= 1
    (drawn,) = generators(image, Draws.JITTER, 0, [5])
    assert off("brightness", ImageEnhance.Brightness(picture).enhance(float(drawn.uniform(0, 7)))) <= 1


def test_attacks_are_the_distortions_that_they_name(images):
    image, numbers = images(2), [5, 6]
    pairs = {
        Jpeg(30): jpeg(image, 30),
        Rotation(10): rotate(image, 10),
        CropAndScale(0.5, 0.8, 1): crop_at_random(image, 0.5, 0.8, 1, numbers),
        CropAndScale(0.9): crop_at_random(image, 0.9, 0.9, 0, numbers),  # the whole height, whatever the area
        GaussianBlur(1): blur(image, 1),
        GaussianNoise(0.2, 3): noise(image, 0.2, 3, numbers),
        Jitter(0.1, 0.2, 0.3, 4): jitter(image, 0.1, 0.2, 0.3, 4, numbers),
        Resize(0.7): resize(image, 0.7),
        InTurn((Jpeg(30), GaussianNoise(0.1))): noise(jpeg(image, 30), 0.1, 0, numbers),
    }
    assert all(torch.equal(attack(image, numbers), expected) for attack, expected in pairs.items())


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Jpeg(quality=0), "quality"),
        (lambda: Jpeg(quality=101), "quality"),
        (lambda: Rotation(float("inf")), "degrees"),
        (lambda: CropAndScale(area=0), "area"),
        (lambda: CropAndScale(area=0.5, ratio=3), "ratio"),
        (lambda: CropAndScale(seed=-1), "seed"),
        (lambda: GaussianBlur(std=-1), "std"),
        (lambda: GaussianNoise(std=float("nan")), "std"),
        (lambda: Jitter(contrast=-0.1), "contrast"),
        (lambda: Resize(0), "factor"),
    ],
)
def test_wrong_strengths_are_refused_at_once(make, name):
    with pytest.raises(ValueError, match=f"Expected `{name}`"):
        make()
