from itertools import pairwise

from decinv.callbacks.thinning import is_logged


def test_each_doubling_adds_as_many_chunks():
    logged = [chunk for chunk in range(64_000) if is_logged(chunk)]
    assert logged[:1001] == [*range(1000), 1000]
    assert logged[1000:1003] == [1000, 1002, 1004]
    ends = [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000]
    assert [sum(chunk < end for chunk in logged) for end in ends] == [1000, 1500, 2000, 2500, 3000, 3500, 4000]
    gaps = [after - before for before, after in pairwise(logged)]
    assert gaps == sorted(gaps)


def test_a_million_images_in_chunks_of_eight():
    assert sum(map(is_logged, range(125_000))) == 4477
