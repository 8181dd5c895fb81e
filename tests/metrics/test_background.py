import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from decinv.metrics import background_nmse, background_psnr_db, background_ssim, psnr_db

FUNCTIONS = (background_nmse, background_psnr_db, background_ssim)


@pytest.fixture
def edit(images):
    """Images, what became of them, and the mask of the left half."""
    target, change = images(2, 16, 24), images(2, 16, 24, seed=1)
    mask = torch.zeros(2, 1, 16, 24, dtype=torch.bool)
    mask[..., :12] = True
    return (target + 0.1 * change).clamp(-1, 1), target, mask


def test_nmse_by_hand():
    target = torch.ones(1, 3, 1, 2)
    target[..., 1] = 0.0  # white and middle grey: 1 and 0.5
    preds = torch.zeros(1, 3, 1, 2)
    assert background_nmse(preds, target).item() == pytest.approx(0.25 / 1.25)
    left = torch.tensor([True, False]).view(1, 1, 1, 2)
    assert background_nmse(preds, target, left).item() == 0.0
    assert background_nmse(preds, target, ~left).item() == pytest.approx(0.25)
    assert background_nmse(preds, target, left | ~left).isnan().all()


def test_without_a_mask_they_are_the_plain_measures(edit):
    preds, target, _ = edit
    torch.testing.assert_close(background_psnr_db(preds, target), psnr_db(preds, target))
    expected = [
        structural_similarity(
            y.numpy(), x.numpy(), data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for y, x in zip((preds + 1) / 2, (target + 1) / 2, strict=True)
    ]
    assert background_ssim(preds, target).tolist() == pytest.approx(expected, abs=2e-2)  # scikit-image leaves the border out


def test_means_are_compared_where_black_is_0():
    """Of even images the similarity is that of their means: (2 m n + C) / (m^2 + n^2 + C) with C = 0.01^2."""
    preds, target = torch.full((1, 3, 12, 12), 0.2), torch.full((1, 3, 12, 12), -0.2)  # 0.6 and 0.4
    expected = (2 * 0.6 * 0.4 + 1e-4) / (0.6**2 + 0.4**2 + 1e-4)
    assert background_ssim(preds, target).item() == pytest.approx(expected, abs=1e-6)


def similarity(y, x):
    """Give the similarity of each place of images (C, H, W) in [0, 1], by its definition, with mirrored borders."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    padded = (np.pad(image, ((0, 0), (5, 5), (5, 5)), mode="reflect") for image in (y, x))
    windows = [np.lib.stride_tricks.sliding_window_view(image, (11, 11), axis=(1, 2)) for image in padded]
    means = [(weights * window).sum((-2, -1)) for window in windows]
    apart = [window - mean[..., None, None] for window, mean in zip(windows, means, strict=True)]
    yy, xx, yx = ((weights * apart[i] * apart[j]).sum((-2, -1)) for i, j in ((0, 0), (1, 1), (0, 1)))
    c1, c2 = 0.01**2, 0.03**2
    return (2 * means[0] * means[1] + c1) * (2 * yx + c2) / ((means[0] ** 2 + means[1] ** 2 + c1) * (yy + xx + c2))


@pytest.mark.parametrize("shape", [(2, 3, 11, 11), (1, 1, 16, 13), (2, 3, 12, 33)])
@pytest.mark.parametrize("plain", [False, True])
def test_similarity_is_that_of_its_definition(images, shape, plain):
    """In plain images, where little differs, the variance in a window is far below the squares of the values."""
    target = torch.full(shape, 0.3) if plain else images(shape[0], *shape[2:])[:, : shape[1]]
    preds = (target + (1e-4 if plain else 0.2) * images(shape[0], *shape[2:], seed=1)[:, : shape[1]]).clamp(-1, 1)
    mask = torch.rand(shape[0], 1, *shape[2:], generator=torch.Generator().manual_seed(0)) < 0.3
    for hidden in (None, mask):
        places = [similarity(*((image.double().numpy() + 1) / 2 for image in pair)) for pair in zip(preds, target, strict=True)]
        kept = torch.ones_like(mask) if hidden is None else ~mask
        expected = [place[:, keep[0].numpy()].mean() for place, keep in zip(places, kept, strict=True)]
        found = background_ssim(preds, target, hidden)
        assert found.dtype == torch.float32
        assert found.tolist() == pytest.approx(expected, abs=1e-6)
        assert found.max() <= 1


def test_the_figures_of_pie_bench_are_those_of_images_painted_black(edit):
    """Written down once more: images in [0, 1], 0 where the mask is, and means over all places."""
    preds, target, mask = edit
    ours = [torch.where(mask, -1.0, image) for image in (preds, target)]
    theirs = [((image.double() + 1) / 2 * ~mask).numpy() for image in (preds, target)]
    error = ((theirs[0] - theirs[1]) ** 2).mean((1, 2, 3))
    assert background_psnr_db(*ours).tolist() == pytest.approx((-10 * np.log10(error)).tolist(), abs=1e-4)
    places = [similarity(*pair).mean() for pair in zip(*theirs, strict=True)]
    assert background_ssim(*ours).tolist() == pytest.approx(places, abs=1e-6)
    part = -10 * np.log10(float((~mask[0]).float().mean()))
    torch.testing.assert_close(background_psnr_db(*ours), background_psnr_db(preds, target, mask) + part)


def test_what_is_inside_the_mask_does_not_count(edit):
    preds, target, mask = edit
    other = torch.where(mask, -target, preds)
    assert torch.equal(background_nmse(other, target, mask), background_nmse(preds, target, mask))
    assert torch.equal(background_psnr_db(other, target, mask), background_psnr_db(preds, target, mask))
    torch.testing.assert_close(background_psnr_db(preds, target, mask), psnr_db(preds[..., 12:], target[..., 12:]))
    kept = torch.where(mask, preds, target)
    assert background_nmse(kept, target, mask).tolist() == [0, 0]
    assert background_psnr_db(kept, target, mask).tolist() == [torch.inf] * 2
    far = mask.clone()
    far[..., :18] = True  # beyond the window's reach
    assert background_ssim(kept, target, far).tolist() == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_shapes_are_checked_and_samples_are_independent(function, edit):
    preds, target, mask = edit
    torch.testing.assert_close(function(preds[1:], target[1:], mask[1:]), function(preds, target, mask)[1:])
    with pytest.raises(ValueError, match="images of one shape"):
        function(preds, target[:1])
    with pytest.raises(ValueError, match=r"Expected a mask of shape \(2, 1, 16, 24\)"):
        function(preds, target, mask[:, 0])
    for clip_or_one in (preds[:, :, None], preds[0]):
        with pytest.raises(ValueError, match=r"Expected images \(B, 3, H, W\), but got"):
            function(clip_or_one, clip_or_one)


def test_small_images_have_no_similarity():
    with pytest.raises(ValueError, match="at least 11"):
        background_ssim(torch.zeros(1, 3, 8, 16), torch.zeros(1, 3, 8, 16))
