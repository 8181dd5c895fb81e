import pytest
import torch

from decinv.batch import Batch, Failure, check_batch, check_images


def test_size_is_that_before_padding() -> None:
    image = torch.zeros(2, 3, 16, 24)
    padded = Batch(image, ("a", "b"), sizes=((15, 24), (16, 17)))
    assert [padded.size(index) for index in range(2)] == [(15, 24), (16, 17)]
    assert Batch(image, ("a", "b")).size(1) == (16, 24)


def test_defaults_are_empty() -> None:
    batch = Batch(torch.zeros(0, 3, 8, 8), (), failures=(Failure("x.png", "It is empty."),))
    assert batch.latent is None
    assert batch.sizes == ()
    assert batch.failures[0].reason == "It is empty."


@pytest.mark.parametrize(
    "image", [torch.zeros(1, 3, 8, 8), torch.full((2, 3, 8, 8), -1.0), torch.zeros(0, 3, 8, 8), torch.zeros(1, 3, 4, 8, 8)]
)
def test_images_in_range_pass(image: torch.Tensor) -> None:
    check_images(image)


def test_not_finite_pixels_are_left_to_the_solver() -> None:
    image = torch.zeros(2, 3, 8, 8)
    image[0, 0, 0, 0], image[1, 0, 0, 0] = torch.nan, torch.inf
    check_images(image)


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, r"float tensor in \[-1, 1\], but got torch.uint8"),
        ("image.png", TypeError, "but got str"),
        (torch.zeros(3, 8, 8), ValueError, r"shape \(B, 3, H, W\), or clips .*, but got \(3, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8), ValueError, r"but got \(1, 1, 8, 8\)"),
        (torch.zeros(1, 4, 3, 8, 8), ValueError, r"or clips \(B, 3, T, H, W\), but got \(1, 4, 3, 8, 8\)"),
        (torch.full((1, 3, 8, 8), 255.0), ValueError, r"\[255, 255\]; scale 8-bit pixels with x / 127.5 - 1"),
        (torch.full((1, 3, 8, 8), -1.01), ValueError, r"\[-1.01, -1.01\]"),
    ],
)
def test_other_images_are_refused(image: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        check_images(image)  # type: ignore[arg-type]


IMAGES = torch.zeros(2, 3, 8, 8)


@pytest.mark.parametrize("batch", [Batch(IMAGES, ("a", "b")), Batch(IMAGES[:0], ()), Batch(IMAGES[:, :, None], ("a", "b"))])
def test_chunks_of_named_images_pass(batch: Batch) -> None:
    assert check_batch(batch) is batch


@pytest.mark.parametrize(
    ("batch", "kind", "message"),
    [
        (IMAGES, TypeError, "chunks of images as a `Batch`, but got Tensor"),
        (Batch(IMAGES * 0 + 128, ("a", "b")), ValueError, r"pixels in \[-1, 1\], but got \[128, 128\]"),
        (Batch(IMAGES.double(), ("a", "b")), ValueError, "as float32, but got torch.float64"),
        (Batch(IMAGES, ()), ValueError, r"a name of its own for each of 2 images of a chunk, but got \(\)"),
        (Batch(IMAGES, ("a", "a")), ValueError, r"but got \('a', 'a'\)"),
    ],
)
def test_other_chunks_are_refused(batch: object, kind: type[Exception], message: str) -> None:
    """Latents are stored by name, so one of two of a name would be lost."""
    with pytest.raises(kind, match=message):
        check_batch(batch)
