"""The shipped samples are what the generator draws."""

import pytest

from decinv.data import MovingScene, procedural_image
from decinv.data.shipped import CLIP_LENGTH, CLIP_SIZE, CLIPS, MOVING, SAMPLES, SCENES, SEED, clip_name, draw, file_name
from decinv.images import read_image
from decinv.video import read_clip


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
    clips = list(CLIPS.iterdir())
    assert sorted(file.name for file in clips) == sorted(map(clip_name, MOVING))
    assert sum(file.stat().st_size for file in clips) < 50_000


@pytest.mark.parametrize("index", MOVING)
def test_sample_clips_are_the_generators(index):
    """Up to what H.264 loses."""
    shipped = read_clip(CLIPS / clip_name(index))
    assert shipped.shape == (3, CLIP_LENGTH, CLIP_SIZE, CLIP_SIZE)
    scene = MovingScene(index, CLIP_SIZE, SEED)
    for number in (0, 9, CLIP_LENGTH - 1):
        error = (shipped[:, number] - scene.frame(number)).square().mean()
        other = (shipped[:, number] - scene.frame(number + 8)).square().mean()
        assert error < 0.02
        assert error < other


def test_drawing(tmp_path, monkeypatch):
    monkeypatch.setattr("decinv.data.shipped.SCENES", {2: 16})
    monkeypatch.setattr("decinv.data.shipped.CLIP_LENGTH", 2)
    draw(tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new" / "clips").iterdir()) == sorted(map(clip_name, MOVING))
    assert (read_image(tmp_path / "new" / "scene-02.png") == procedural_image(2, 16, SEED)).all()
