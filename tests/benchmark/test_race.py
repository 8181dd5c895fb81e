import pytest
import torch

import decinv.benchmark.measuring.race as race_module
from decinv.batch import Batch
from decinv.benchmark.measuring.measure import measure_quality
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT, GRADIENT, METHODS, DecoderMethod
from decinv.benchmark.measuring.race import Entry, race, warm_up
from decinv.codecs import LinearCodec
from decinv.problems import DecoderProblem
from decinv.updates import ForwardStep

MARKS = (1, 2, 5)


@pytest.fixture(scope="module")
def batch():
    latent = 0.3 * torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    return Batch(LinearCodec().decode(latent), ("a", "b", "c"), latent)


def test_only_the_method_itself_is_timed(batch, ticking, monkeypatch):
    monkeypatch.setattr(race_module, "now", lambda device: ticking.seconds)
    entries = [Entry(BY_NAME[name], MARKS) for name in ("encoder", "forward step 1", GRADIENT)]
    found = race(entries, ticking, batch)
    assert {name: {mark: finding.seconds for mark, finding in marks.items()} for name, marks in found.items()} == {
        "encoder": {0: 3.0},
        "forward step 1": {k: 3.0 * (2 * k + 1) for k in MARKS},
        GRADIENT: {k: 3.0 * (k + 1) for k in MARKS},
    }


@pytest.mark.parametrize("name", ["encoder", GRADIENT, "gradient Adam 0.01", "paper Adam 0.01", DEFAULT])
def test_quality_is_what_the_method_has_alone(batch, name):
    codec = LinearCodec()
    entries = [Entry(method, MARKS) for method in METHODS]
    found = race(entries, codec, batch)[name]
    alone = measure_quality(BY_NAME[name], codec, batch, MARKS)
    assert list(found) == list(alone)
    for mark, quality in alone.items():
        for own, expected in zip(found[mark].quality, quality, strict=True):
            assert torch.equal(own, expected)


def _logged(steps, name):
    class Logged(ForwardStep):
        def update(self):
            steps.append(name)
            super().update()

    return Entry(DecoderMethod(name, DecoderProblem, Logged), (2, 4))


def test_methods_take_turns(batch):
    steps = []
    race([_logged(steps, "a"), _logged(steps, "b")], LinearCodec(), batch)
    assert steps == ["a", "b"] * 3  # the last of the four evaluations needs no update


def test_all_methods_are_warmed_up(batch):
    steps = []
    warm_up([_logged(steps, "a"), _logged(steps, "b")], LinearCodec(), batch.image)
    assert steps == ["a", "b"]
