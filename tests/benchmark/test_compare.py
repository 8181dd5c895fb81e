import statistics

import pytest
import torch

import decinv.benchmark.decoder.compare as compare_module
from decinv.batch import Batch
from decinv.benchmark.decoder.compare import compare, ticks
from decinv.benchmark.measuring.measure import measure_quality
from decinv.benchmark.measuring.methods import METHODS
from decinv.benchmark.measuring.race import Entry, Finding
from decinv.codecs import LinearCodec

REFERENCE = "gradient Adam 0.01"
NAMES = ("encoder", REFERENCE, "forward step 1")
ENTRIES = [Entry(method, (1, 4)) for method in METHODS if method.name in NAMES]


@pytest.fixture
def chunks():
    codec = LinearCodec()
    latent = 0.3 * torch.randn(5, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    whole = Batch(codec.decode(latent).clamp(-1, 1), tuple("abcde"), latent)
    return [Batch(whole.image[i:j], whole.names[i:j], whole.latent[i:j]) for i, j in ((0, 3), (3, 5))]


def test_rows(chunks):
    codec = LinearCodec()
    words = []
    rows = compare("linear", "float32", codec, chunks, ENTRIES, 2, REFERENCE, words.append)
    assert {(row.codec, row.dtype) for row in rows} == {("linear", "float32")}
    assert [(row.iterations, row.method) for row in rows] == [
        (0, "encoder"),
        (1, REFERENCE),
        (1, "forward step 1"),
        (4, REFERENCE),
        (4, "forward step 1"),
    ]
    assert len(words) == ticks(len(chunks), ENTRIES, 2)

    image, truth = (torch.cat([getattr(chunk, part) for chunk in chunks]).double() for part in ("image", "latent"))
    start = codec.encode(image.float()).double()

    def nmse(z):
        return (10 * torch.log10((z - truth).square().flatten(1).sum(1) / truth.square().flatten(1).sum(1))).tolist()

    encoder, last = nmse(start), rows[-1]
    assert rows[0].nmse_db == pytest.approx(statistics.mean(encoder), abs=1e-3)
    assert rows[0].nmse_db_half_width == pytest.approx(1.96 * statistics.stdev(encoder) / 5**0.5, rel=1e-3)
    assert rows[0].nmse_db_worst_change == pytest.approx(0, abs=1e-3)
    assert rows[0].relative_seconds is None

    z = start
    for _ in range(3):
        z = z - codec.encode(codec.decode(z.float())).double() + start
    forward = nmse(z)
    assert last.nmse_db == pytest.approx(statistics.mean(forward), abs=1e-3)
    assert last.nmse_db_worst == pytest.approx(max(forward), abs=1e-3)
    assert last.nmse_db_worst_change == pytest.approx(max(b - a for a, b in zip(encoder, forward, strict=True)), abs=1e-3)
    assert (last.decodes, last.encodes, last.backwards) == (4, 5, 0)


def test_times_are_medians_and_ratios_are_of_the_same_repeat(chunks, monkeypatch):
    # The machine is 1, 100 and 10 times slower in the three repeats; the forward step takes twice the reference's time.
    speeds = iter([1, 1, 100, 100, 10, 10])  # two chunks a repeat

    def fake(entries, codec, batch):
        speed = next(speeds)
        return {
            method.name: {
                mark: Finding(quality, speed * (2.0 if method.name == "forward step 1" else 1.0) * mark * len(batch.image))
                for mark, quality in measure_quality(method, codec, batch, marks).items()
            }
            for method, marks in entries
        }

    monkeypatch.setattr(compare_module, "race", fake)
    rows = compare("linear", "float32", LinearCodec(), chunks, ENTRIES, 3, REFERENCE, lambda word: None)
    found = {(row.iterations, row.method): (row.seconds, row.relative_seconds) for row in rows}
    assert found == {
        (0, "encoder"): (0, None),
        (1, REFERENCE): (10, 1),
        (1, "forward step 1"): (20, 2),
        (4, REFERENCE): (40, 1),
        (4, "forward step 1"): (80, 2),
    }


def test_latents_that_are_not_finite_show(chunks):
    codec = LinearCodec()
    spoilt = chunks[0].image.clone()
    spoilt[1, 0, 0, 0] = torch.nan
    spoilt_chunks = [chunks[0]._replace(image=spoilt), chunks[1]]
    rows = compare("linear", "float32", codec, spoilt_chunks, ENTRIES, 1, REFERENCE, lambda word: None)
    assert all(row.nmse_db != row.nmse_db and row.nmse_db_half_width != row.nmse_db_half_width for row in rows)
