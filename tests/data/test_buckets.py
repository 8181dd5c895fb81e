"""Grouping by size: order, memory, and what becomes of failures."""

import random

import pytest
import torch

from decinv.batch import Failure
from decinv.data.buckets import Sample, gather

SMALL, WIDE, TALL = (8, 8), (8, 16), (16, 8)


def sample(name, size=SMALL, latent=None):
    return Sample(name, torch.full((3, *size), float(sum(map(ord, name)))), size, latent)


def names(batches):
    return [batch.names for batch in batches]


def test_samples_of_one_size_stay_in_order():
    batches = list(gather((sample(str(i)) for i in range(7)), 3, 4))
    assert names(batches) == [("0", "1", "2"), ("3", "4", "5"), ("6",)]
    assert torch.equal(batches[1].image[2], sample("5").image)
    assert batches[0].latent is None
    assert batches[0].failures == ()


def test_sizes_are_not_mixed():
    inputs = [sample("a"), sample("b", WIDE), sample("c", TALL), sample("d"), sample("e", TALL), sample("f", WIDE), sample("g")]
    batches = list(gather(inputs, 2, 4))
    assert names(batches) == [("a", "d"), ("c", "e"), ("b", "f"), ("g",)]
    assert [tuple(batch.image.shape) for batch in batches] == [(2, 3, 8, 8), (2, 3, 16, 8), (2, 3, 8, 16), (1, 3, 8, 8)]
    assert batches[1].sizes == (TALL, TALL)


def test_the_rest_goes_out_oldest_first():
    inputs = [sample("w", WIDE), sample("t", TALL), sample("s"), sample("t2", TALL)]
    assert names(gather(inputs, 8, 4)) == [("w",), ("t", "t2"), ("s",)]


def test_true_latents_go_along():
    inputs = [sample(str(i), latent=torch.full((4, 2, 2), float(i))) for i in range(3)]
    first, second = gather(inputs, 2, 4)
    assert torch.equal(first.latent[:, 0, 0, 0], torch.tensor([0.0, 1.0]))
    assert second.latent.shape == (1, 4, 2, 2)


def test_failures_go_out_with_the_next_chunk():
    bad = [Failure(f"bad{i}", "why") for i in range(4)]
    inputs = [bad[0], sample("a"), sample("b"), bad[1], bad[2], sample("c"), bad[3]]
    batches = list(gather(inputs, 2, 4))
    assert names(batches) == [("a", "b"), ("c",)]
    assert [batch.failures for batch in batches] == [(bad[0],), (bad[1], bad[2], bad[3])]


@pytest.mark.parametrize("count", [0, 2])
def test_failures_that_are_left_go_out_alone(count):
    bad = Failure("bad", "why")
    *_, last = gather([*(sample(str(i)) for i in range(count)), bad], 2, 4)
    assert last.failures == (bad,)
    assert last.names == ()
    assert last.image.shape == (0, 3, 4, 4)


def test_nothing_gives_nothing():
    assert list(gather([], 2, 4)) == []


def test_failures_change_no_chunk():
    samples = [sample(str(i), random.Random(i).choice([SMALL, WIDE, TALL])) for i in range(30)]
    mixed = list(samples)
    for i in range(10):
        mixed.insert(random.Random(100 + i).randrange(len(mixed)), Failure(f"bad{i}", "why"))
    plain, with_failures = list(gather(samples, 4, 4)), list(gather(mixed, 4, 4))
    assert names(plain) == names(with_failures)[: len(plain)]
    assert sorted(f.name for batch in with_failures for f in batch.failures) == [f"bad{i}" for i in range(10)]


def test_the_fullest_bucket_goes_out_first_when_too_much_waits():
    inputs = [sample("s1"), sample("w1", WIDE), sample("s2"), sample("t1", TALL), sample("s3")]
    assert names(gather(inputs, 9, 4, max_pixels=400)) == [("s1", "s2", "s3"), ("w1",), ("t1",)]
    assert names(gather(inputs, 9, 4, max_pixels=300)) == [("s1", "s2"), ("w1",), ("t1",), ("s3",)]


def test_memory_is_bounded_with_every_image_of_another_size():
    """Of 200 images, no two of one size, no more wait than the bound holds, beside the one just read; each goes out once."""
    read, out, bound, peak = [], [], 20_000, 0

    def stream():
        for i in range(1, 201):
            read.append(i)
            yield Sample(str(i), torch.zeros(3, 4, 4 * i), (4, 4 * i))

    for batch in gather(stream(), 8, 4, max_pixels=bound):
        out += [int(name) for name in batch.names]
        peak = max(peak, 16 * (sum(read) - sum(out)))
    assert sorted(out) == list(range(1, 201))
    assert bound < peak <= bound + 16 * 200


def test_an_image_above_the_bound_goes_through():
    assert names(gather([sample("a"), sample("b")], 8, 4, max_pixels=1)) == [("a",), ("b",)]
