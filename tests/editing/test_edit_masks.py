import numpy as np
import pytest
import torch
from PIL import Image

from decinv.diffusion import Prompt
from decinv.diffusion.noise import draw_noise
from decinv.editing import MaskFiles, PromptMask, Source


@pytest.fixture
def source(make):
    process, trajectory = make([1.0])
    return Source("a/b.png", 7, (15, 13), 4, process, trajectory)


def test_prompts_that_differ_somewhere_give_that_place(source):
    means = source.process.condition.prompt.embedding.repeat(3, 1, 1, 1)
    means[0, :, 1, 2] += 0.5
    means[1, 0, 3, 0] -= 0.1
    mask = PromptMask(margin=0, draws=2).find(source, Prompt(means))
    assert mask.shape == (3, 1, 4, 4)
    assert [mask[i, 0].nonzero().tolist() for i in range(3)] == [[[1, 2]], [[3, 0]], []]
    assert PromptMask(margin=1, draws=2).find(source, Prompt(means))[1, 0].nonzero().tolist() == [
        [2, 0],
        [2, 1],
        [3, 0],
        [3, 1],
    ]


def test_the_noise_of_masks_is_not_that_which_the_image_was_sampled_from(source, monkeypatch):
    seen = []

    def predict(point, time, prompt):
        seen.append(point[0].flatten())
        return point

    monkeypatch.setattr(source.process.guidance.denoiser, "predict", predict)
    latent = torch.zeros(1, 8, 16, 16)
    prompt = source.process.condition.prompt
    PromptMask(draws=2, seed=5).compare(source.process, prompt, prompt, latent, [7])
    for drawn in (draw_noise((8, 16, 16), 5, 7), draw_noise((8, 16, 16), 5, 7, 1), seen[1]):
        assert abs(float(torch.corrcoef(torch.stack([seen[0], drawn.flatten()]))[0, 1])) < 0.1


@pytest.mark.parametrize("options", [{"draws": 0}, {"margin": -1}, {"ratio": 0.0}, {"threshold": 1.0}, {"strength": 0.0}])
def test_options_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PromptMask(**options)


def test_files_are_masks_of_whole_cells(source, prompts, tmp_path):
    pixels = np.zeros((15, 13), dtype=np.uint8)
    pixels[4, 7], pixels[14, 12], pixels[0, 0] = 255, 200, 100
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "b.png")
    for path in (tmp_path, tmp_path / "a" / "b.png"):
        mask = MaskFiles(str(path)).find(source, prompts(0.0, 0.0))
        assert mask.shape == (2, 1, 4, 4)
        assert mask[1, 0].nonzero().tolist() == [[1, 1], [3, 3]]


def test_masks_that_are_none_are_refused(source, prompts, tmp_path):
    masks = MaskFiles(str(tmp_path))
    with pytest.raises(ValueError, match=r"mask of 'a/b.png'"):
        masks.find(source, prompts(0.0))
    (tmp_path / "a").mkdir()
    Image.new("L", (15, 13)).save(tmp_path / "a" / "b.png")
    with pytest.raises(ValueError, match=r"15 x 13 pixels for 'a/b.png', but got 13 x 15"):
        masks.find(source, prompts(0.0))
    (tmp_path / "a" / "b.png").write_text("no image")
    with pytest.raises(ValueError, match="readable image"):
        masks.find(source, prompts(0.0))
    with pytest.raises(FileNotFoundError, match="`path`"):
        MaskFiles(str(tmp_path / "none"))


def test_masks_of_padded_images_have_the_latents_cells(source, prompts, tmp_path):
    """Images are padded to whole patches of the network, which may be more than a cell."""
    small = source._replace(size=(9, 11))
    pixels = np.zeros((9, 11), dtype=np.uint8)
    pixels[8, 10] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    mask = MaskFiles(str(tmp_path / "mask.png")).find(small, prompts(0.0))
    assert mask.shape == (1, 1, 4, 4)
    assert mask[0, 0].nonzero().tolist() == [[2, 2]]


def test_missing_masks_are_told_of_before_an_image_is_inverted(tmp_path):
    masks = MaskFiles(str(tmp_path))
    with pytest.raises(ValueError, match="2 of 2 have none, 'a' first"):
        masks.check(["a", "b"])
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match="1 of 2 have none, 'b' first"):
        masks.check(["a", "b"])
    with pytest.warns(UserWarning, match="200 of 201 have none, '0' first"):
        masks.check(name for name in [*map(str, range(200)), "a"])
    masks.check(["a"])
    MaskFiles(str(tmp_path / "a.png")).check(["b"])
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match="readable image"):
        MaskFiles(str(tmp_path / "a.png")).check(["b"])
    PromptMask().check(["a"])


def test_a_mask_of_another_name_is_none(source, prompts, tmp_path):
    """What follows the last dot of a name is a suffix only where it is that of an image format."""
    Image.new("L", (13, 15)).save(tmp_path / "cat.png")
    masks = MaskFiles(str(tmp_path))
    for name in ("cat", "cat.png", "cat.JPG"):
        assert masks.find(source._replace(name=name), prompts(0.0)).shape == (1, 1, 4, 4)
    for name in ("cat.v1", "cat.v2"):
        with pytest.raises(ValueError, match=f"mask of '{name}'"):
            masks.find(source._replace(name=name), prompts(0.0))
