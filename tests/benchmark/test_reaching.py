import math

import pytest
import torch

from decinv.batch import Batch
from decinv.benchmark.measuring.methods import METHODS, DecoderMethod
from decinv.benchmark.measuring.trajectory import Trajectory, follow_all
from decinv.benchmark.thresholds.reaching import Level, needed
from decinv.codecs import LinearCodec
from decinv.problems import DecoderProblem
from decinv.updates import ForwardStep


def _run(*errors):
    """A run on two images that takes 4 s an evaluation."""
    return Trajectory(torch.tensor(errors), 4.0 * torch.arange(len(errors), dtype=torch.float64), {})


RUNS = [
    _run([-10.0, -12.0], [-10.0, -12.0], [-19.0, -13.0], [-20.0, -20.0]),
    _run([-10.0, -12.0], [-10.0, -12.0], [-12.0, -14.0], [-13.0, -21.0], [-28.0, -14.0], [-30.0, -22.0]),
]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (-11.0, (0, 0.0, 1.0, 1.0)),  # the second image's start is there, the first needs two evaluations
        (-16.0, (2, 4.0, 2.5, 1.0)),  # the first run is sooner
        (-21.0, (4, 8.0, 3.5, 1.0)),  # only the second run gets there; the second image at 3, though not for good
        (-25.0, (5, 10.0, None, 0.5)),  # one image never does
        (-40.0, (None, None, None, 0.0)),
    ],
)
def test_known_runs(level, expected):
    assert needed(RUNS, Level.fixed(level, 2)) == expected


def test_the_end_of_a_method_is_its_longest_run_and_each_image_has_its_own():
    level = Level.end_of("other", RUNS)
    assert (level.name, level.mean_db, level.each_db.tolist()) == ("other at 5", -26.0, [-30.0, -22.0])
    found = needed([_run([0.0, 0.0], [-20.0, -23.0], [-27.0, -26.0], [-31.0, -27.0])], level)
    assert found == (2, 4.0, 2.0, 1.0)
    assert needed(RUNS, level).evaluations == 5


def test_what_is_no_number_reaches_nothing():
    found = needed([_run([0.0, 0.0], [-30.0, math.nan])], Level.fixed(-10, 2))
    assert found == (None, None, None, 0.5)


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("level", [-10.0, -25.0, -40.0])
def test_forward_step_needs_what_its_rate_predicts(step, level):
    # With one eigenvalue a, z_k has the relative error |1 - a| (1 - rho a)^k, and k + 1 evaluations have seen it.
    a = 0.7
    codec = LinearCodec(eigenvalues=(a,) * 4)
    latent = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(3))
    chunk = Batch(codec.decode(latent), ("a", "b", "c"), latent)
    forward = DecoderMethod("forward", DecoderProblem, lambda params: ForwardStep(params, lr=step))
    runs = follow_all(forward, codec, [chunk], [80], lambda word: None)
    steps = math.ceil((level / 20 * math.log(10) - math.log(1 - a)) / math.log(1 - step * a))
    found = needed(runs, Level.fixed(level, 3))
    expected = steps + 1 if steps > 0 else 0
    assert (found.evaluations, found.median_evaluations, found.reached) == (expected, expected, 1.0)


def test_the_least_over_runs_counts_for_methods_with_a_schedule():
    codec = LinearCodec()
    latent = 0.3 * torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(4))
    chunk = Batch(codec.decode(latent), ("a", "b"), latent)
    (paper,) = (method for method in METHODS if method.name == "paper Adam 0.01")
    runs = follow_all(paper, codec, [chunk], (5, 60), lambda word: None)
    level = Level.fixed(runs[0].means_db[-1], 2)
    later = needed(runs[1:], level).evaluations
    assert needed(runs, level).evaluations == 5 < later  # the longer schedule warms up for longer
