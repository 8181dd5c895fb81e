from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import decinv
from decinv.codecs import Codec, LinearCodec, Scaling
from decinv.modules import DecoderInversion


class Noisy(Codec):
    """Random in training mode, as dropout is; computes in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.stride, self.latent_channels = 8, 3
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.dropout = nn.Dropout(0.5)
        self.freeze()

    def _encode(self, image: Tensor) -> Tensor:
        return self.dropout(nn.functional.avg_pool2d(image.double(), self.stride) * self.weight)

    def _decode(self, latent: Tensor) -> Tensor:
        return self.dropout(nn.functional.interpolate(latent.double() / self.weight, scale_factor=self.stride))


def test_scaling_is_the_affine_map_of_the_diffusion_model() -> None:
    scaling = Scaling(1.5305, 0.0609)
    raw = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(scaling.apply(raw), (raw - 0.0609) * 1.5305)
    torch.testing.assert_close(scaling.invert(scaling.apply(raw)), raw)


def test_results_are_float32_whatever_the_codec_computes_in(images) -> None:
    codec = Noisy()
    latent = codec.encode(images(2))
    assert latent.dtype == torch.float32
    assert codec.decode(latent).dtype == torch.float32


def test_training_mode_is_never_entered(images) -> None:
    codec = Noisy()
    nn.Sequential(codec).train()
    codec.train(True)
    assert not any(module.training for module in codec.modules())
    assert torch.equal(codec.encode(images(2)), codec.encode(images(2)))


class Unfrozen(Codec):
    """Leave ``freeze`` out; in training mode batch normalisation would mix the images, and change with each of them."""

    stride, latent_channels = 8, 3

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AvgPool2d(8), nn.BatchNorm2d(3), nn.Dropout(0.5))

    def _encode(self, image: Tensor) -> Tensor:
        encoded: Tensor = self.layers(image)
        return encoded

    def _decode(self, latent: Tensor) -> Tensor:
        return nn.functional.interpolate(latent, scale_factor=8.0)


@pytest.mark.parametrize("first", ["encode", "decode"])
def test_a_codec_that_was_not_frozen_is_at_its_first_use(images, first: str) -> None:
    codec, image = Unfrozen(), images(2)
    assert codec.training
    if first == "encode":
        # The statistics are those that the layer starts with: mean 0, variance 1.
        expected = nn.functional.avg_pool2d(image, 8) / (1 + codec.layers[1].eps) ** 0.5
        torch.testing.assert_close(codec.encode(image), expected)
    else:
        codec.decode(image[..., :2, :2])
    assert not any(module.training for module in codec.modules())
    assert not any(parameter.requires_grad for parameter in codec.parameters())


def test_images_do_not_mix_in_a_codec_that_was_not_frozen(images) -> None:
    together = decinv.invert(images(3), Unfrozen(), max_iters=3).latent
    alone = decinv.invert(images(3), Unfrozen(), max_iters=3, batch_size=1).latent
    torch.testing.assert_close(together, alone)


def test_weights_get_no_gradient_but_latents_do(images) -> None:
    codec = Noisy()
    latent = codec.encode(images(1)).requires_grad_()
    codec.decode(latent).sum().backward()
    assert latent.grad is not None
    assert codec.weight.grad is None


@pytest.mark.parametrize(
    ("height", "width", "fits"), [(65, 64, "64 x 64"), (64, 70, "64 x 72"), (3, 3, "8 x 8"), (60, 68, "64 x 64")]
)
def test_sizes_that_would_be_cropped_are_refused_with_those_that_would_do(images, height: int, width: int, fits: str) -> None:
    with pytest.raises(ValueError, match=f"multiples of 8, but got {height} x {width}.*pad or crop to {fits}, say"):
        Noisy().encode(images(1, height, width))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (1, 1, 3, 8, 8)])
def test_other_shapes_are_no_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images with shape \(B, 3, H, W\), or of clips \(B, 3, T, H, W\), but got"):
        Noisy().encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (1, 1, 3, 8, 8)])
def test_other_shapes_are_no_latents(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"latents with shape \(B, 3, h, w\), or of clips \(B, 3, t, h, w\), but got"):
        Noisy().decode(torch.zeros(shape))


def test_no_images_give_no_latents_without_computing() -> None:
    codec = LinearCodec()
    codec._encode = codec._decode = None  # type: ignore[assignment, method-assign]
    latent = codec.encode(torch.zeros(0, 3, 8, 12))
    assert latent.shape == (0, 4, 2, 3)
    assert codec.decode(latent).shape == (0, 3, 8, 12)


def test_device_is_that_of_the_buffers_where_there_are_no_weights() -> None:
    assert LinearCodec().device == torch.device("cpu")
    assert LinearCodec().to("meta").device == torch.device("meta")


class Shuffled(Codec):
    """Has neither weights nor buffers, and gives what shape it is told to."""

    stride, latent_channels = 2, 12

    def __init__(self, planes: int = 12, lines: int | None = None) -> None:
        super().__init__()
        self.planes, self.lines = planes, lines

    def _encode(self, image: Tensor) -> Tensor:
        return nn.functional.pixel_unshuffle(image, 2)[:, : self.planes]

    def _decode(self, latent: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(latent, 2)[:, :, : self.lines]


def test_a_codec_without_weights_and_buffers_is_inverted_on_the_cpu(images) -> None:
    assert Shuffled().device == torch.device("cpu")
    assert decinv.invert(images(2), Shuffled()).status == (decinv.Status.CONVERGED,) * 2


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        (Shuffled(planes=8), r"`_encode` of Shuffled to give shape \(2, 12, 8, 8\), but got \(2, 8, 8, 8\)"),
        (Shuffled(lines=1), r"`_decode` of Shuffled to give shape \(2, 3, 16, 16\), but got \(2, 3, 1, 16\)"),
    ],
)
def test_maps_that_break_the_promise_of_the_attributes_are_named(images, codec: Codec, said: str) -> None:
    with pytest.raises(ValueError, match=f"{said}; correct it, or the codec's `stride` 2 or `latent_channels` 12"):
        decinv.invert(images(2), codec)


class Shift(Shuffled):
    """Keeps its promises, but for what ``encode`` and ``decode`` do to what they get."""

    def __init__(self, encode: Callable[[Tensor], Tensor] = Tensor.clone, decode: Callable[[Tensor], Tensor] = Tensor.clone):
        super().__init__()
        self.changes = encode, decode

    def _encode(self, image: Tensor) -> Tensor:
        return super()._encode(self.changes[0](image))

    def _decode(self, latent: Tensor) -> Tensor:
        return super()._decode(self.changes[1](latent))


def sample(rows: Tensor) -> Tensor:
    return rows + 1e-3 * torch.randn_like(rows)


def halve(rows: Tensor) -> Tensor:
    return rows.data.mul_(0.5)


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        (Shift(encode=sample), "`_encode` of Shift to be deterministic, .*; let it give a posterior's mode"),
        (Shift(decode=sample), "`_decode` of Shift to be deterministic, .*; let it give an image without noise"),
        (Shift(encode=halve), "`_encode` of Shift to leave its input as it is, but it wrote to it"),
        (Shift(decode=halve), "`_decode` of Shift to leave its input as it is, but it wrote to it"),
    ],
)
def test_maps_that_are_random_or_write_to_what_they_get_are_named(images, codec: Codec, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decinv.invert(images(2), codec)


def test_a_codec_is_tried_out_once_on_one_frame(images) -> None:
    seen: list[int] = []
    codec = Shift(encode=lambda rows: seen.append(len(rows)) or rows)
    for _ in range(2):
        codec.try_out(images(4).unflatten(0, (2, 2)).transpose(1, 2))
    assert seen == [1, 1]


@pytest.mark.parametrize("stride", [None, (2, 4), 2.0, 0])
def test_a_codec_without_a_whole_stride_is_refused_at_once(images, stride: object) -> None:
    codec = type("Own", (Shuffled,), {"stride": stride})()
    for refuse in (lambda: decinv.invert(images(2), codec), lambda: DecoderInversion(codec)):
        with pytest.raises(ValueError, match="Own to set `stride` to a whole number of at least 1, but got"):
            refuse()


def test_a_codec_whose_base_was_not_constructed_is_refused_at_once(images) -> None:
    codec = type("Own", (Shuffled,), {"__init__": lambda self: None})()
    with pytest.raises(ValueError, match=r"constructor of Own to call `super\(\).__init__\(\)` first"):
        decinv.invert(images(2), codec)
