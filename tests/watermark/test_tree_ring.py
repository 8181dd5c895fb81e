import numpy as np
import pytest
import torch
from scipy.stats import kstest

from decinv.watermark import (
    Mask,
    Pattern,
    TreeRingKey,
    correlation,
    correlations,
    decoy_p_value,
    distance,
    distance_p_value,
    distances,
    inject,
    likeliest,
    p_value,
    p_value_of_any,
    three_keys,
)

RANDOM = (Pattern.RINGS, Pattern.RANDOM)
DRAWN = (*RANDOM, Pattern.ZEROS)


def noise(count, shape, seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def nearest(latent, keys):
    return distances(latent, keys).argmin(1)


@pytest.mark.parametrize("pattern", DRAWN)
@pytest.mark.parametrize(("shape", "radius"), [((4, 16, 16), 5), ((4, 9, 13), 3), ((1, 7, 8), 0), ((2, 8, 8), 20)])
def test_real_noise_carries_the_key_exactly(pattern, shape, radius):
    key = TreeRingKey.make(shape, shape[0] - 1, radius, pattern, seed=3)
    latent = noise(3, shape)
    marked = inject(latent, key)
    assert float(distance(marked, key).max()) < 1e-5
    torch.testing.assert_close(inject(marked, key), marked, atol=1e-5, rtol=0)
    assert torch.equal(marked[:, : key.channel], latent[:, : key.channel])
    plane, before = (torch.fft.fft2(one[:, key.channel], norm="ortho") for one in (marked, latent))
    torch.testing.assert_close(plane[:, ~key.disc], before[:, ~key.disc], atol=1e-5, rtol=0)
    assert inject(latent.half(), key).dtype == torch.float16


def test_the_disc_of_the_paper_has_its_317_coefficients():
    key = TreeRingKey.make((4, 64, 64), seed=0)
    assert key.values.shape == (317,)
    assert key.values.real.unique().numel() == 10
    assert bool(key.disc[0, 0])


def test_rings_survive_a_quarter_turn_and_random_coefficients_do_not():
    latent = noise(1, (1, 15, 15))  # of odd size, so that a turn keeps the origin's place up to a shift of one value
    rings, random = (TreeRingKey.make((1, 15, 15), 0, 4, pattern, seed=1) for pattern in RANDOM)
    for key, low in ((rings, True), (random, False)):
        marked = inject(latent, key)
        turned = marked.flip(2).roll(1, 2).mT.contiguous()  # (y, x) -> (x, -y)
        assert (float(distance(turned, key)) < 1e-5) == low


@pytest.mark.parametrize(
    ("function", "pattern"), [(p_value, one) for one in RANDOM] + [(distance_p_value, one) for one in DRAWN]
)
def test_p_values_of_unmarked_noise_are_uniform(function, pattern):
    """10,000 draws of small latents, where approximations for many coefficients would show."""
    key = TreeRingKey.make((1, 8, 8), 0, 2, pattern, seed=5)
    latent = noise(10_000, (1, 8, 8))
    p = function(latent, key).numpy()
    assert 0.045 <= (p < 0.05).mean() <= 0.055
    assert kstest(p, "uniform").pvalue > 0.01
    scaled = function(3 * latent, key, **({} if function is p_value else {"std": 3.0})).numpy()
    assert kstest(scaled, "uniform").pvalue > 0.01


def test_p_values_at_the_settings_of_the_papers():
    latent = noise(400, (4, 64, 64))
    for key in (TreeRingKey.make((4, 64, 64), seed=5), three_keys((4, 64, 64))[0]):
        assert kstest(p_value(latent, key).numpy(), "uniform").pvalue > 0.01
        assert kstest(distance_p_value(latent, key).numpy(), "uniform").pvalue > 0.01
        marked = inject(latent[:5], key)
        noisy = marked + 0.5 * noise(5, (4, 64, 64), 1)
        assert float(torch.stack([p_value(noisy, key), distance_p_value(noisy, key), p_value(0.3 * noisy, key)]).max()) < 1e-6
        assert float(p_value(marked, key).max()) < 1e-100


def test_weak_noise_is_no_mark():
    """What a poor inversion recovers is weaker than noise, and so closer to every key."""
    key = TreeRingKey.make((1, 32, 32), 0, 10, Pattern.RANDOM, seed=5)
    weak = 0.5 * noise(200, (1, 32, 32))
    assert float(distance_p_value(weak, key).max()) < 1e-3
    assert kstest(p_value(weak, key).numpy(), "uniform").pvalue > 0.01
    assert kstest(decoy_p_value(weak, key, 199).numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("pattern", RANDOM)
def test_decoys_give_uniform_p_values(pattern):
    """For white noise with one key that points anywhere, and over the draw of keys for one latent that is far from white."""
    shape = (1, 8, 8)
    key = TreeRingKey.make(shape, 0, 3, pattern, seed=5)
    if pattern is Pattern.RANDOM:
        assert kstest(decoy_p_value(noise(2000, shape), key, 199).numpy(), "uniform").pvalue > 0.01
    coloured = 0.01 * noise(1, shape).cumsum(2).cumsum(3)
    keys = [TreeRingKey.make(shape, 0, 3, pattern, seed) for seed in range(150)]
    p = [float(decoy_p_value(coloured, one, 39, seed=1000 + seed)) for seed, one in enumerate(keys)]
    assert kstest(p, "uniform").pvalue > 0.01
    assert float(decoy_p_value(inject(coloured, key), key, 99)) <= 0.02


@pytest.mark.parametrize("rule", [nearest, likeliest])
@pytest.mark.parametrize("stretched", [False, True])
def test_three_keys_are_told_apart_in_300_of_300_cases(stretched, rule):
    keys = three_keys((4, 64, 64), stretched=stretched)
    assert _right(keys, rule) == [100, 100, 100]


@pytest.mark.parametrize("gain", [1.0, 0.4])
def test_the_likeliest_key_does_not_depend_on_the_strength_of_the_noise(gain):
    """Of noise that is recovered too weak, the nearest key is often the weakest one."""
    keys = three_keys((4, 16, 16))
    weak = [gain * (inject(noise(100, (4, 16, 16)), key) + 0.5 * noise(100, (4, 16, 16), 1)) for key in keys]
    assert [likeliest(latent, keys).eq(index).sum().item() for index, latent in enumerate(weak)] == [100, 100, 100]
    told = sum(nearest(latent, keys).eq(index).sum().item() for index, latent in enumerate(weak))
    assert told == 300 if gain == 1 else told < 250


def test_the_likeliest_key_has_the_highest_likelihood():
    """Of F = g K + e with white e, at the strength g and the deviation of e that suit each key best, found by search."""
    keys = three_keys((1, 8, 8))
    latent = 0.5 * inject(noise(60, (1, 8, 8)), keys[1]) + 1.2 * noise(60, (1, 8, 8), 1)
    found = torch.fft.fft2(latent[:, 0], norm="ortho")[:, keys[0].disc]
    strengths = torch.linspace(0, 3, 3001)[:, None, None]
    left = torch.stack([(found - strengths * key.values).abs().square().sum(2).min(0).values for key in keys], dim=1)
    count = found.shape[1]
    likelihood = -count / 2 * (left / count).log() - count / 2
    assert likeliest(latent, keys).tolist() == likelihood.argmax(1).tolist()
    assert len(set(likelihood.argmax(1).tolist())) == 3


def test_keys_of_different_sizes_compete_by_how_unlikely_they_are():
    """By chance a key of few coefficients correlates higher than one of many does that is there."""
    small, large = (TreeRingKey.make((1, 32, 32), 0, radius, Pattern.RANDOM, seed=radius) for radius in (1, 12))
    latent = inject(noise(200, (1, 32, 32)), large) + 3 * noise(200, (1, 32, 32), 1)
    assert int((correlation(latent, small) > correlation(latent, large)).sum()) > 20
    assert int((likeliest(latent, [small, large]) == 1).sum()) >= 195


def test_correlations_have_their_known_values():
    key = TreeRingKey.make((1, 16, 16), 0, 5, Pattern.RANDOM, seed=2)
    latent = noise(2, (1, 16, 16))
    marked = inject(latent, key)
    parts = torch.cat([marked, -0.1 * marked, torch.zeros_like(marked)])
    assert correlation(parts, key).tolist() == pytest.approx([1, 1, -1, -1, 0, 0], abs=1e-9)
    assert p_value(parts[2:], key).tolist() == pytest.approx([1, 1, 0.5, 0.5])
    assert correlations(parts, [key, key]).shape == (6, 2)
    assert likeliest(inject(latent, key), [key, key]).tolist() == [0, 0]


@pytest.mark.filterwarnings("ignore:The published mask")
@pytest.mark.parametrize("size", [12, 64])
def test_the_published_rings_by_hand(size):
    """Complex rings, painted from the outer to the inner one on a shifted, unnormalised spectrum whose rows are counted up."""
    radius, latent = 5, noise(2, (4, size, size))
    drawn = torch.fft.fftshift(torch.fft.fft2(noise(1, (size, size), seed=9)[0]))
    wanted, inside = torch.zeros(size, size, dtype=torch.complex64), torch.zeros(size, size, dtype=torch.bool)
    for ring in range(radius, 0, -1):
        for row in range(size):
            for column in range(size):
                if (size - 1 - row - size // 2) ** 2 + (column - size // 2) ** 2 <= ring**2:
                    wanted[row, column], inside[row, column] = drawn[0, ring], True
    spectrum = torch.fft.fftshift(torch.fft.fft2(latent[:, 3]), dim=(-2, -1))
    spectrum[:, inside] = wanted[inside]
    marked = latent.clone()
    marked[:, 3] = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
    away = (torch.fft.fftshift(torch.fft.fft2(marked[:, 3]), dim=(-2, -1)) - wanted)[:, inside].abs().mean(1)

    disc, coefficients = (torch.fft.ifftshift(plane) for plane in (inside, wanted / size))
    key = TreeRingKey((4, size, size), 3, radius, coefficients[disc], mask=Mask.PUBLISHED)
    assert torch.equal(key.disc, disc)
    torch.testing.assert_close(inject(latent, key), marked, atol=1e-5, rtol=0)
    torch.testing.assert_close(size * distance(marked, key), away, rtol=1e-5, atol=0)


@pytest.mark.filterwarnings("ignore:The published mask")
@pytest.mark.parametrize("stretched", [False, True])
def test_the_published_mask_reads_the_first_key_as_the_second(stretched):
    keys = three_keys((4, 64, 64), stretched=stretched, mask=Mask.PUBLISHED)
    assert _right(keys, nearest) == [0, 100, 100]
    assert nearest(inject(noise(3, (4, 64, 64)), keys[0]), keys).tolist() == [1, 1, 1]


def _right(keys, rule):
    latent = noise(100, (4, 64, 64))
    return [int((rule(inject(latent, key), keys) == index).sum()) for index, key in enumerate(keys)]


def test_three_keys_are_those_of_the_papers():
    values = [key.values[(key.disc.nonzero() == 0).all(1)].real.item() for key in three_keys((4, 64, 64), stretched=False)]
    assert values == pytest.approx([80 / 64 * ring for ring in (1.1, 1.1, 0.7)])
    outer = three_keys((4, 64, 64))[0]
    column = torch.full((64, 64), torch.nan, dtype=torch.complex64)
    column[outer.disc] = outer.values
    assert column[0, 1:7].real.tolist() == pytest.approx([80 / 64 * (2 * k - 1) for k in (1.1, 0.8, 1.2, 0.9, 0.6, 1.4)])
    assert torch.equal(column[0, 1:7], column[0, -6:].flip(0))
    assert column[0, 7].real.isnan()


def test_the_published_mask_warns_and_has_no_p_value():
    with pytest.warns(UserWarning, match="not symmetric about the zero frequency"):
        key = TreeRingKey.make((4, 16, 16), 0, 3, mask=Mask.PUBLISHED, seed=0)
    for function in (p_value, distance_p_value, lambda latent, key: likeliest(latent, [key])):
        with pytest.raises(ValueError, match="centred mask"):
            function(noise(1, (4, 16, 16)), key)
    odd = TreeRingKey.make((4, 15, 15), 0, 3, mask=Mask.PUBLISHED, seed=0)
    assert torch.equal(odd.disc, TreeRingKey.make((4, 15, 15), 0, 3, seed=0).disc)


def test_the_best_of_many_keys_is_corrected_for():
    p = torch.from_numpy(np.random.default_rng(0).random((10_000, 7)))
    assert kstest(p_value_of_any(p).numpy(), "uniform").pvalue > 0.01
    assert float(p_value_of_any(torch.tensor([[1e-12, 1.0]], dtype=torch.float64))) == pytest.approx(2e-12)


def test_no_latents_are_no_error():
    key, none = TreeRingKey.make((4, 16, 16), 3, 4, seed=0), noise(0, (4, 16, 16))
    assert inject(none, key).shape == none.shape
    functions = (distance, correlation, p_value, distance_p_value, decoy_p_value)
    assert [len(function(none, key)) for function in functions] == [0] * 5
    assert len(likeliest(none, [key])) == 0


def test_other_shapes_are_refused():
    key = TreeRingKey.make((4, 16, 16), 3, 4, seed=0)
    for latent in (noise(1, (4, 16, 8)), noise(1, (16, 16, 16)), noise(4, (16, 16))):
        for function in (inject, distance, correlation, p_value, distance_p_value, decoy_p_value):
            with pytest.raises(ValueError, match=r"Expected latents of shape \(B, 4, 16, 16\)"):
                function(latent, key)


def test_bad_numbers_are_refused():
    key = TreeRingKey.make((4, 16, 16), 3, 4, Pattern.ZEROS)
    with pytest.raises(ValueError, match="`std`"):
        distance_p_value(noise(1, (4, 16, 16)), key, std=0.0)
    for function in (p_value, correlation):
        with pytest.raises(ValueError, match="not all 0"):
            function(noise(1, (4, 16, 16)), key)
    with pytest.raises(ValueError, match="at least two"):
        p_value(noise(1, (4, 16, 16)), TreeRingKey.make((4, 16, 16), 3, 0))
    with pytest.raises(ValueError, match="`count`"):
        decoy_p_value(noise(1, (4, 16, 16)), key, count=0)
    with pytest.raises(ValueError, match=r"drawn at random for decoys, but .* is of the pattern ZEROS"):
        decoy_p_value(noise(1, (4, 16, 16)), key)
