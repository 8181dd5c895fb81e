"""The shipped samples are what the generator draws."""

import pytest

from decinv.data import procedural_image
from decinv.data.shipped import SAMPLES, SCENES, SEED, draw, file_name
from decinv.images import read_image


@pytest.mark.parametrize("index", SCENES)
def test_samples_are_the_generators(index):
    """Up to one grey level here and there, since numpy's transforms round differently from machine to machine."""
    shipped = read_image(SAMPLES / file_name(index))
    drawn = procedural_image(index, SCENES[index], SEED)
    difference = (shipped - drawn).abs() * 127.5
    assert difference.max() < 1.5
    assert difference.mean() < 0.01


def test_samples_are_few_and_small():
    files = list(SAMPLES.glob("*.png"))
    assert sorted(file.name for file in files) == sorted(map(file_name, SCENES))
    assert sum(file.stat().st_size for file in files) < 300_000
    assert len(set(SCENES.values())) == 2


def test_drawing(tmp_path, monkeypatch):
    monkeypatch.setattr("decinv.data.shipped.SCENES", {2: 16})
    draw(tmp_path / "new")
    assert (read_image(tmp_path / "new" / "scene-02.png") == procedural_image(2, 16, SEED)).all()
