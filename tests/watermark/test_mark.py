import pytest
import torch

from decinv.metrics import detect
from decinv.watermark import (
    Finding,
    GaussianShading,
    Mask,
    Pattern,
    ShadingKey,
    ThreeKeys,
    TreeRingKey,
    TreeRings,
    Watermark,
    three_keys,
)

SHAPE = (4, 16, 16)


def noise(count, seed=0):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def rings(tmp_path):
    paths = [str(tmp_path / f"{index}.safetensors") for index in range(3)]
    for index, path in enumerate(paths):
        TreeRingKey.make(SHAPE, index, 4, Pattern.RANDOM, seed=index).save(path)
    return paths


@pytest.fixture
def shading(tmp_path):
    ShadingKey.make(SHAPE, 64, seed=1).save(tmp_path / "shading.safetensors")
    return str(tmp_path / "shading.safetensors")


def watermarks(rings, shading):
    return TreeRings(rings), ThreeKeys(SHAPE), GaussianShading(shading, users=5), TreeRings(rings, decoys=999)


def test_marks_are_found_and_nothing_else(rings, shading):
    """With much noise in between, of as great a deviation as the marked noise has."""
    for watermark in watermarks(rings, shading):
        which = torch.arange(30) % watermark.marks
        found = watermark.find(watermark.mark(noise(30), which) + 0.5 * noise(30, 1))
        assert [finding.mark for finding in found] == which.tolist()
        assert all(finding.found for finding in found)
        unmarked = watermark.find(0.7 * noise(200, 2))
        assert sum(bool(finding.found) for finding in unmarked) <= 7  # 2 expected at 1 %
        scores = [torch.tensor([finding.score for finding in some]) for some in (found, unmarked)]
        assert detect(*scores).auc.value == 1.0


def test_findings_name_key_distance_and_bits(rings, shading):
    tree, _, shaded, _ = watermarks(rings, shading)
    latent = tree.mark(noise(2), torch.tensor([2, 0]))
    first, second = tree.find(latent)
    assert first.key == TreeRingKey.load(rings[2]).fingerprint
    assert second.key == TreeRingKey.load(rings[0]).fingerprint
    assert first.distance < 1e-5
    assert (first.correlation, first.likeliest, first.bits) == (pytest.approx(1), 2, None)
    finding = shaded.find(shaded.mark(noise(1), torch.tensor([4])))[0]
    assert (finding.mark, finding.bits) == (4, 64)
    assert (finding.distance, finding.correlation, finding.likeliest) == (None, None, None)
    assert finding.p_value == pytest.approx(5 * 2.0**-64, rel=1e-3)


def test_keys_in_weak_noise_are_likeliest_and_not_nearest():
    """The mark is the nearest key, the papers' rule; correlation tells keys, and marked from unmarked images, beside it."""
    watermark = ThreeKeys(SHAPE)
    which = torch.arange(60) % 3
    findings = watermark.find(0.4 * (watermark.mark(noise(60), which) + 0.5 * noise(60, 1)))
    assert [finding.likeliest for finding in findings] == which.tolist()
    assert sum(finding.mark == mark for finding, mark in zip(findings, which.tolist(), strict=True)) <= 40
    assert all(finding.score == finding.correlation > 0.5 for finding in findings)
    assert all(finding.key == watermark.keys[finding.mark].fingerprint for finding in findings)


def test_weak_noise_without_a_mark_scores_lower_than_a_mark():
    """By distance it would not: weak noise is nearer to a weak key than noise of full strength, with errors, to its own."""
    watermark = ThreeKeys(SHAPE)
    marked = watermark.find(watermark.mark(noise(60), torch.arange(60) % 3) + 1.6 * noise(60, 1))
    unmarked = watermark.find(0.2 * noise(60, 2))
    scores = [torch.tensor([finding.score for finding in some]) for some in (marked, unmarked)]
    near = [torch.tensor([-finding.distance for finding in some]) for some in (marked, unmarked)]
    assert detect(*scores).auc.value == 1.0
    assert detect(*near).auc.value < 0.9


def test_keys_without_a_direction_are_told_by_distance(tmp_path):
    zeros, single, random = (str(tmp_path / name) for name in ("zeros", "single", "random"))
    TreeRingKey.make(SHAPE, 0, 4, Pattern.ZEROS).save(zeros)
    TreeRingKey.make(SHAPE, 1, 0, Pattern.RANDOM, seed=1).save(single)
    TreeRingKey.make(SHAPE, 2, 4, Pattern.RANDOM, seed=2).save(random)
    watermark = TreeRings([zeros, single, random])
    which = torch.tensor([0, 1, 2])
    findings = watermark.find(watermark.mark(noise(3), which))
    assert [finding.mark for finding in findings] == which.tolist()
    assert all(finding.correlation is finding.likeliest is None and finding.score == -finding.p_value for finding in findings)
    assert (findings[0].found, findings[2].found) == (True, True)


def test_keys_of_several_sizes_are_scored_by_how_rare_their_correlation_is(tmp_path):
    """Noise correlates with the few coefficients of a small key by chance as much as a marked one does with a large key's."""
    for radius in (1, 2, 4, 6):
        TreeRingKey.make(SHAPE, 0, radius, Pattern.RANDOM, seed=radius).save(tmp_path / f"{radius}")
    watermark = TreeRings([str(tmp_path / f"{radius}") for radius in (1, 2, 4, 6)])
    marked = watermark.find(watermark.mark(noise(400), torch.full((400,), 3)) + noise(400, 1))
    unmarked = watermark.find(noise(400, 2))
    scores = [torch.tensor([finding.score for finding in some], dtype=torch.float64) for some in (marked, unmarked)]
    assert detect(*scores).tpr[0].value > 0.99
    r = [torch.tensor([finding.correlation for finding in some], dtype=torch.float64) for some in (marked, unmarked)]
    assert detect(*r).tpr[0].value < 0.1


def test_false_alarms_of_many_keys_are_as_rare_as_asked(rings):
    found = TreeRings(rings, fpr=0.05).find(noise(3000, 5))
    assert 0.038 <= sum(bool(finding.found) for finding in found) / 3000 <= 0.062


@pytest.mark.filterwarnings("ignore:The published mask")
def test_the_published_mask_has_no_verdict():
    watermark = ThreeKeys(SHAPE, mask=Mask.PUBLISHED)
    finding = watermark.find(watermark.mark(noise(1), torch.tensor([0])))[0]
    assert (finding.mark, finding.p_value, finding.found) == (1, None, None)
    assert (finding.likeliest, finding.correlation, finding.score) == (None, None, -finding.distance)


def test_bad_options_are_refused(rings, shading):
    with pytest.raises(ValueError, match="at least one key"):
        TreeRings([])
    with pytest.raises(ValueError, match="`decoys`"):
        TreeRings(rings, decoys=-1)
    with pytest.raises(ValueError, match="`fpr`"):
        ThreeKeys(SHAPE, fpr=1.0)
    with pytest.raises(ValueError, match="`shape`"):
        ThreeKeys((4, 0, 4))
    with pytest.raises(ValueError, match="`users`"):
        GaussianShading(shading, users=0)
    with pytest.raises(ValueError, match="`seed`"):
        GaussianShading(shading, users=2, seed=-1)
    with pytest.raises(ValueError, match=r"`fpr` of at least about 5\.4e-20, at which all 64 bits of one of 1"):
        GaussianShading(shading, fpr=1e-20)
    with pytest.raises(ValueError, match="tree-ring key 1 in"):
        TreeRings([shading])
    with pytest.raises(ValueError, match=f"keys that differ, but got {TreeRingKey.load(rings[1]).fingerprint} more than once"):
        TreeRings([*rings, rings[1]])


def test_users_without_a_message_of_their_own_are_refused(tmp_path):
    ShadingKey.make(SHAPE, 10, seed=1).save(tmp_path / "key")
    assert GaussianShading(str(tmp_path / "key"), users=5, fpr=0.1).marks == 5
    with pytest.raises(ValueError, match=r"message of its own for each of 100 users, but only 9\d of those drawn differ"):
        GaussianShading(str(tmp_path / "key"), users=100, fpr=0.1)


@pytest.mark.parametrize("broken", [torch.nan, 3.4e38])  # whose Fourier coefficients are not finite
def test_noise_that_is_not_finite_carries_no_mark_and_costs_the_others_nothing(rings, shading, broken):
    for watermark in watermarks(rings, shading):
        marked = watermark.mark(noise(3), torch.tensor([1, 1, 0]))
        marked[1, :2, 3, 4] = broken
        first, second, third = watermark.find(marked)
        assert (second.mark, second.p_value, second.found) == (-1, None, None)
        assert second.score < min(first.score, third.score)
        assert [first, third] == watermark.find(marked[[0, 2]])


def test_marks_are_none_or_known(rings, shading):
    for watermark in watermarks(rings, shading):
        plain = noise(3)
        marked = watermark.mark(plain, torch.tensor([-1, 0, -1]))
        assert [torch.equal(*pair) for pair in zip(plain, marked, strict=True)] == [True, False, True]
        for wrong in (-2, watermark.marks):
            with pytest.raises(ValueError, match=f"Expected marks from 0 to {watermark.marks - 1}, or -1 for none"):
                watermark.mark(plain, torch.tensor([0, wrong, 0]))


def test_keys_without_decoys_are_refused_before_noise_is_seen(tmp_path):
    keys = {
        "given": three_keys(SHAPE)[0],
        "one ring": TreeRingKey.make(SHAPE, 0, 1, seed=0),
        "two rings": TreeRingKey.make(SHAPE, 0, 2, seed=0),
        "three rings": TreeRingKey.make(SHAPE, 0, 3, seed=0),
        "zeros": TreeRingKey.make(SHAPE, 0, 4, Pattern.ZEROS),
    }
    for name, key in keys.items():
        key.save(tmp_path / name)
    with pytest.raises(ValueError, match="of the pattern GIVEN; give decoys: 0"):
        TreeRings([str(tmp_path / "given")], decoys=999)
    for name, count in (("one ring", 1), ("two rings", 2)):
        with pytest.raises(ValueError, match=f"at least 3 rings for decoys, but .* has {count}; give decoys: 0"):
            TreeRings([str(tmp_path / name)], decoys=999)
    TreeRings([str(tmp_path / "three rings"), str(tmp_path / "zeros")], decoys=999).find(noise(2))


def test_decoys_suffice_for_the_rate_of_false_alarms(rings):
    with pytest.raises(ValueError, match="at least 299, but got 298"):
        TreeRings(rings, decoys=298)
    watermark = TreeRings(rings[:1], decoys=99)
    assert watermark.find(watermark.mark(noise(1), torch.tensor([0])))[0].found  # p is 1 / 100 but for rounding
    with pytest.raises(ValueError, match="a list of files of keys"):
        TreeRings(rings[0])


class Own(Watermark):
    """One mark; finds what it is told to."""

    marks, shape = 1, SHAPE

    def __init__(self, found):
        super().__init__()
        self.found = found

    def _mark(self, noise, which):
        return -noise

    def _find(self, noise):
        assert len(noise)
        return [Finding(mark, "", None, None, 1.0) for mark in self.found]


@pytest.mark.parametrize("found", [[0], [0, 0, 0], [0, 1], [-2, 0]])
def test_an_own_watermark_that_finds_too_little_or_another_mark_is_named(found):
    with pytest.raises(ValueError, match=r"Own to find a mark below 1, or -1, in each of 2 noises, but got \["):
        Own(found).find(noise(2))


def test_an_own_watermark_is_not_asked_about_noise_that_is_not_finite():
    finding = Own([]).find(noise(1) * torch.nan)[0]
    assert (finding.mark, finding.score) == (-1, -torch.inf)
    assert [finding.mark for finding in Own([0, -1]).find(noise(2))] == [0, -1]
