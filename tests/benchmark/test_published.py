import copy
import math

import pytest
import torch

from decinv.api import invert
from decinv.benchmark.measuring.attempt import begin_attempt
from decinv.benchmark.measuring.methods import METHODS
from decinv.benchmark.measuring.published import PUBLISHED, PublishedLoop, PublishedMethod
from decinv.codecs import AutoencoderCodec, LinearCodec

ADAM, GRADIENT = PUBLISHED
MODE = PublishedMethod("mode", gradient=False, lr=0.01, hold_from=0.8, longest=100, sampled=False)


@pytest.fixture(scope="module")
def codec(saved):
    return AutoencoderCodec(str(saved("kl")))


def run(method, codec, image, steps):
    loop = PublishedLoop(method, codec, image, steps)
    while not loop.done:
        loop.step()
    return loop


def adam(z, slope, rates, eps=1e-8):
    """Kingma and Ba, 2015, Algorithm 1, in double precision."""
    m = v = torch.zeros_like(z)
    for t, rate in enumerate(rates, 1):
        g = slope(z)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        z = z - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + eps)
    return z


def gradient_free_rates(steps):
    """The schedule of arXiv 2409.18442's gradient-free method."""
    longest = min(steps, 100)
    warm, rates = longest // 10, []
    for i in range(steps):
        if i < warm:
            rates.append(0.01 * (i + 1) / warm)
        elif i < 0.8 * longest:
            rates.append(0.01 * (1 + math.cos(math.pi * (i - warm) / (longest - warm))) / 2)
        else:
            rates.append(rates[-1])
    return rates


def exact(codec):
    """The codec's maps between scaled latents and images in double precision."""
    model, scale = copy.deepcopy(codec.model).double(), codec.scaling.factor
    return lambda z: model.decode(z / scale).sample, lambda x: scale * model.encode(x).latent_dist.mode()


@pytest.mark.parametrize("steps", [1, 7, 21])
def test_gradient_free_loop_is_adam_on_the_residual_to_the_last_iterate(codec, images, steps):
    image = images(1, 16, 16)
    decode, encode = exact(codec)
    with torch.no_grad():
        target = encode(image.double())
        expected = adam(target, lambda z: encode(decode(z)) - target, gradient_free_rates(steps))
    found = codec.scaling.apply(run(MODE, codec, image, steps).latent())
    assert (expected - target).abs().amax() > 0.005
    torch.testing.assert_close(found, expected.float(), atol=2e-4, rtol=0)


@pytest.mark.parametrize("steps", [1, 10])
def test_gradient_loop_is_adam_on_the_pixel_error_to_the_last_iterate(codec, images, steps):
    image = images(1, 32, 32)
    decode, encode = exact(codec)
    with torch.no_grad():
        start = encode(image.double())

    def slope(z):
        z = z.clone().requires_grad_()
        return torch.autograd.grad((decode(z) - image.double()).square().sum(), z)[0]

    warm = steps // 10
    rates = [0.1 * (i / warm if i < warm else (1 + math.cos(math.pi * (i - warm) / (steps - warm))) / 2) for i in range(steps)]
    expected = adam(start, slope, rates)
    found = codec.scaling.apply(run(GRADIENT, codec, image, steps).latent())
    torch.testing.assert_close(found, expected.float(), atol=2e-3, rtol=0)


def test_with_the_mode_it_is_the_rule_of_the_package(codec, images, monkeypatch):
    (rule,) = (method.rule for method in METHODS if method.name == "paper Adam 0.01")
    image = images(1, 16, 16)
    monkeypatch.setattr(codec, "clamps", False)  # as published
    result = invert(image, codec, rule, max_iters=10, rtol=0, patience=None, last_iterate=True)
    torch.testing.assert_close(run(MODE, codec, image, 10).latent(), result.latent, atol=1e-3, rtol=0)


def test_the_encoding_is_sampled_by_a_seed_of_each_image(codec, images):
    image = images(1, 8, 8).expand(2, -1, -1, -1)
    first, second = run(ADAM, codec, image, 5).latent()
    assert not torch.equal(first, second)
    assert torch.equal(first, run(ADAM, codec, image[:1], 5).latent()[0])


@pytest.mark.parametrize(("method", "copies"), [(ADAM, 2), (GRADIENT, 1)])
def test_float32_copies_the_autoencoder_for_each_image_and_iteration(codec, images, monkeypatch, method, copies):
    made, real = [], copy.deepcopy
    loop = PublishedLoop(method, codec, images(3, 8, 8), 2)
    monkeypatch.setattr(copy, "deepcopy", lambda value: made.append(real(value)) or made[-1])
    loop.step()
    assert len(made) == 3 * copies
    gradients = [weight.grad for model in made for weight in model.decoder.parameters()]
    assert all((gradient is not None) == method.gradient for gradient in gradients)
    assert all(weight.grad is None and not weight.requires_grad for weight in codec.parameters())
    work = {ADAM: (3, 6, 0), GRADIENT: (3, 3, 3)}
    assert loop.work() == work[method]


def test_16_bits_copy_nothing_and_hold_the_state_in_16_bits(saved, images, monkeypatch):
    codec = AutoencoderCodec(str(saved("kl")), dtype="bfloat16")
    loop = PublishedLoop(ADAM, codec, images(1, 8, 8), 2)
    monkeypatch.setattr(copy, "deepcopy", None)
    loop.step()
    (state,) = loop.samples[0].optimizer.state.values()
    assert state["exp_avg_sq"].dtype == torch.bfloat16
    assert loop.samples[0].optimizer.defaults["eps"] == 1e-4
    assert loop.latent().dtype == torch.float32


def test_codecs_without_a_posterior_will_do(saved, images):
    codec = AutoencoderCodec(str(saved("tiny")))
    assert run(ADAM, codec, images(1), 1).latent().isfinite().all()


def test_other_codecs_are_refused(images):
    with pytest.raises(TypeError, match="AutoencoderCodec"):
        begin_attempt(ADAM, LinearCodec(), images(1), 1)


def test_the_schedule_ends_after_100_steps(codec, images):
    (sample,) = PublishedLoop(ADAM, codec, images(1, 8, 8), 200).samples
    assert [0.01 * sample.schedule.factor(i) for i in range(200)] == pytest.approx(gradient_free_rates(200))
