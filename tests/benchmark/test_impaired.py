import math

import pytest
import torch

from decinv.api import invert
from decinv.benchmark.stress.impaired import (
    ChannelMap,
    Constant,
    ImpairedCodec,
    Mixture,
    as_codec,
    blur,
    rotation,
    round_factors,
    round_layers,
    shift,
    spoil_weights,
    symmetric,
    to_tf32,
)
from decinv.codecs import LinearCodec, load_codec
from decinv.problems import DecoderProblem
from decinv.status import Status
from decinv.updates import ForwardStep


def _latents(count=3, channels=4, side=4):
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3, 4, 16])
@pytest.mark.parametrize("degrees", [30, 90, 150])
def test_a_rotation_is_orthogonal_and_turns_every_direction_of_its_planes_by_the_angle(channels, degrees):
    matrix = rotation(channels, degrees)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(channels, dtype=torch.float64))
    cosines = torch.linalg.eigvalsh((matrix + matrix.T) / 2)
    fixed = torch.ones(channels % 2, dtype=torch.float64)
    turned = torch.full((channels - channels % 2,), math.cos(math.radians(degrees)), dtype=torch.float64)
    torch.testing.assert_close(cosines, torch.cat([turned, fixed]))
    assert torch.linalg.det(matrix) == pytest.approx(1)
    assert torch.equal(matrix, rotation(channels, degrees))


def test_a_rotation_by_0_changes_nothing(images):
    inner = LinearCodec(scaling_factor=0.5, shift_factor=0.2)
    codec = ImpairedCodec(inner, ChannelMap(rotation(4, 0)))
    torch.testing.assert_close(codec.encode(images(2)), inner.encode(images(2)), rtol=0, atol=1e-6)
    assert torch.equal(codec.decode(_latents()), inner.decode(_latents()))


def test_latents_are_changed_in_the_scaled_space(images):
    inner = LinearCodec(scaling_factor=0.5, shift_factor=0.2)
    codec = ImpairedCodec(inner, ChannelMap(2 * torch.eye(4)))
    expected = 2 * (inner.encode(images(2)) - 0.2) + 0.2
    torch.testing.assert_close(codec.encode(images(2)), expected)


@pytest.mark.parametrize(
    "change",
    [ChannelMap(rotation(4, 90)), Mixture(shift, 0.5), Mixture(blur, 0.9), Constant()],
    ids=lambda change: type(change).__name__,
)
def test_rows_do_not_depend_on_each_other(images, change):
    codec = ImpairedCodec(LinearCodec(), change)
    image = images(3)
    alone = torch.cat([codec.encode(image[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(codec.encode(image), alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("factor", "status"), [(0.3, Status.CONVERGED), (1.9, Status.CONVERGED), (2.1, Status.DIVERGED)])
def test_a_scaled_encoder_has_the_same_fixed_point_and_the_forward_step_the_known_range(images, factor, status):
    inner = LinearCodec((1.0,) * 4)
    codec = ImpairedCodec(inner, ChannelMap(factor * torch.eye(4)))
    result = invert(images(2), codec, ForwardStep, max_iters=200, rtol=1e-5)
    assert set(result.status) == {status}
    if status is Status.CONVERGED:
        torch.testing.assert_close(result.latent, inner.fixed_point(images(2)), rtol=0, atol=1e-4)


def test_the_eigenvalues_of_a_linear_codec_are_those_asked_for():
    codec = ImpairedCodec(LinearCodec((1.0,) * 4), ChannelMap(symmetric((3.0, 1.0, 0.5, -0.5))))
    columns = torch.eye(4)[:, :, None, None]
    matrix = codec.encode(codec.decode(columns))[:, :, 0, 0].T
    torch.testing.assert_close(torch.linalg.eigvalsh(matrix), torch.tensor([-0.5, 0.5, 1.0, 3.0]), rtol=0, atol=1e-5)


def test_mixtures_are_weighted_means():
    latent = torch.zeros(1, 1, 3, 3)
    latent[0, 0, 1, 2] = 9.0
    mixed = Mixture(shift, 0.25)(latent)[0, 0, 1]
    assert mixed.tolist() == [2.25, 0.0, 6.75]
    # A cell at the border counts twice, as its own neighbour beyond it; in the corners of the picture it counts twice too.
    torch.testing.assert_close(blur(latent)[0, 0], torch.tensor([[0.0, 1.0, 2.0]] * 3))


def test_a_constant_encoder_says_nothing(images):
    codec = ImpairedCodec(LinearCodec(), Constant())
    assert torch.equal(codec.encode(images(2)), torch.ones(2, 4, 4, 4))
    evaluation = DecoderProblem(codec, images(2)).evaluate(_latents(2))
    assert not evaluation.residual.any()
    assert evaluation.mismatch.any()


def test_an_untrained_autoencoder_is_seeded(saved, images):
    model = load_codec(saved("kl")).model
    codecs = [as_codec(lambda: type(model).from_config(model.config), seed) for seed in (0, 0, 1)]
    encoded = [codec.encode(images(1, 64, 64)) for codec in codecs]
    assert torch.equal(encoded[0], encoded[1])
    assert not torch.equal(encoded[0], encoded[2])


def test_weights_are_spoilt_by_the_amount_asked_for(saved):
    whole, spoilt = (load_codec(saved("kl")) for _ in range(2))
    assert spoil_weights(spoilt, 0.1) is spoilt
    for (name, before), after in zip(whole.named_parameters(), spoilt.parameters(), strict=True):
        assert not before.any() or not torch.equal(before, after)
        if before.numel() > 500:
            size = (after - before).square().mean().sqrt() / before.square().mean().sqrt()
            assert size == pytest.approx(0.1, rel=0.15), name


@pytest.mark.parametrize(("name", "unit"), [("bfloat16", 2**-9), ("float16", 2**-12)])
def test_rounded_layers_are_as_coarse_as_their_number_format(saved, images, name, unit):
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    exact, rounded = load_codec(saved("tiny")), round_layers(load_codec(saved("tiny")), dtype)
    latent, other = (codec.encode(images(1, 64, 64)) for codec in (exact, rounded))
    assert torch.equal(other, other.to(dtype).float())
    real = load_codec(saved("tiny"), name).encode(images(1, 64, 64))
    wrong, really = ((coarse - latent).norm() / latent.norm() for coarse in (other, real))
    assert unit / 2 < wrong < 30 * unit
    assert really / 3 < wrong < 3 * really


def test_tf32_keeps_ten_bits_and_rounds_ties_to_even():
    unit = 2.0**-10
    values = torch.tensor([1 + unit, 1 + unit / 2, 1 + 1.5 * unit, 1 + 0.51 * unit, -(1 + 0.51 * unit), 0.0, 3e30])
    expected = torch.tensor([1 + unit, 1, 1 + 2 * unit, 1 + unit, -1 - unit, 0.0])
    rounded = to_tf32(values)
    assert torch.equal(rounded[:-1], expected)
    assert rounded[-1] == pytest.approx(3e30, rel=unit / 2)
    assert torch.equal(to_tf32(rounded), rounded)


@torch.no_grad()
def test_rounded_factors_are_about_as_coarse_as_float16(saved, images):
    image = images(1, 64, 64)
    exact, rounded, half = load_codec(saved("dc")), round_factors(load_codec(saved("dc"))), load_codec(saved("dc"), "float16")
    wrong, really = ((codec.encode(image) - exact.encode(image)).norm() for codec in (rounded, half))
    assert really / 5 < wrong < 5 * really
