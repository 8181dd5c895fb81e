"""A plan agrees with the peak that is metered in the real run, and needs neither weights nor time."""

import json
import resource
import time
from dataclasses import replace
from functools import cache, partial
from math import prod
from pathlib import Path

import pytest
import torch

from decinv import solver_memory
from decinv.api import load_update
from decinv.codecs import AutoencoderCodec, LinearCodec
from decinv.codecs.frames import as_clips
from decinv.memory import MIB, PeakMemory
from decinv.modules import DecoderInversion, EncoderInversion, GradientInversion
from decinv.plan import MOST_SAMPLES, plan
from decinv.solver_memory import solver_need
from decinv.stopping import Stopping
from decinv.updates import Anderson

ADAM = str(Path(__file__).parents[1] / "configs" / "update" / "paper_adam.yaml")


def default(codec):
    return DecoderInversion(codec, max_iters=4)


def squares(codec):
    return DecoderInversion(codec, partial(Anderson, pool=3), max_iters=4)


def long(codec):
    return DecoderInversion(codec, max_iters=30)


def paper_adam(codec):
    return DecoderInversion(codec, load_update(ADAM), max_iters=3, last_iterate=True)


def descending(codec):
    return DecoderInversion(codec, Untrusting, max_iters=4, gradient_steps=3)


class Untrusting(Anderson):
    """Leaves every sample at its start."""

    def proof(self, first):
        return torch.zeros(2, len(first.merit))


def adam(codec):
    return DecoderInversion(codec, partial(torch.optim.Adam, lr=0.01), max_iters=4)


def gradient(codec):
    return GradientInversion(codec, max_iters=2)


@cache
def full(path="bundled"):
    return AutoencoderCodec(path)


@cache
def empty(**options):
    with torch.device("meta"):
        return AutoencoderCodec(**options)


def resident():
    """The most memory that this process had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def metered(inversion, image):
    """The peak of a real run in which every sample takes all iterations."""
    solver = inversion.solver
    solver.stopping = replace(solver.stopping, rtol=0.0, patience=None)
    with PeakMemory("cpu") as peak:
        solver.start(inversion.problem(image))
        while not solver.done:
            solver.step()
    return peak.bytes


@pytest.mark.parametrize(
    ("name", "make", "rows", "size"),
    [
        ("bundled", default, 4, 64),
        ("bundled", gradient, 2, 64),
        ("kl", default, 1, 64),
        ("kl", default, 1, 128),
        ("kl", paper_adam, 2, 64),
        ("bundled", descending, 3, 64),
        ("kl", squares, 4, 64),
        ("kl", EncoderInversion, 2, 64),
    ],
)
def test_a_codec_needs_what_was_planned(saved, images, name, make, rows, size):
    path = name if name == "bundled" else str(saved(name))
    planned, codec = plan(make(empty(path=path)), size, size, rows), full(path)
    assert planned.peak == pytest.approx(metered(make(codec), images(rows, size, size)), rel=0.02)
    assert planned.weights == sum(weight.nbytes for weight in codec.parameters())
    assert planned.total == planned.weights + rows * 3 * size * size * 4 + planned.peak


@pytest.mark.parametrize("make", [adam, paper_adam, default])
def test_images_that_are_large_beside_the_codec_need_what_was_planned(images, make):
    planned = plan(make(LinearCodec()), 48, 96, 3)
    assert planned.peak == pytest.approx(metered(make(LinearCodec()), images(3, 48, 96)), rel=0.02)


@pytest.mark.parametrize(("make", "rows", "size"), [(default, 2, 64), (paper_adam, 1, 64), (gradient, 1, 64)])
def test_a_codec_in_16_bits_needs_what_was_planned(saved, images, make, rows, size):
    """A small one, since few processors are fast at this."""
    path = str(saved("kl"))
    planned = plan(make(empty(path=path, dtype="bfloat16")), size, size, rows)
    assert planned.peak == pytest.approx(
        metered(make(AutoencoderCodec(path, dtype="bfloat16")), images(rows, size, size)), rel=0.05
    )
    assert planned.peak < 0.9 * plan(make(empty(path=path)), size, size, rows).peak
    assert planned.weights == empty(path=path).model.num_parameters() * 2


def test_a_long_history_of_many_samples_is_planned(images):
    """Where the history is most of it, as with a codec that needs next to nothing; no sample leaves early here."""
    inversion = DecoderInversion(LinearCodec(stride=8), max_iters=30)
    planned = plan(inversion, 64, 64, 6).peak
    assert planned > 6 * 13 * 3 * 64 * 64 * 4
    measured = metered(DecoderInversion(LinearCodec(stride=8), max_iters=30), images(6, 64, 64))
    assert measured <= 1.02 * planned


@pytest.mark.parametrize("make", [paper_adam, gradient])
def test_mixed_precision_is_planned(saved, images, make):
    path = str(saved("kl"))
    with torch.autocast("cpu", torch.bfloat16):
        measured = metered(make(AutoencoderCodec(path)), images(1, 64, 64))
    planned = plan(make(empty(path=path)), 64, 64, 1, "bf16-mixed").peak
    assert planned == pytest.approx(measured, rel=0.05)
    assert planned < 0.9 * plan(make(empty(path=path)), 64, 64, 1).peak


def test_a_budget_of_the_codec_is_planned(saved, images):
    path = str(saved("kl"))
    whole = plan(paper_adam(empty(path=path)), 64, 64, 4)
    options = {"path": path, "memory_mib": 1.5 * whole.single / MIB}
    planned = plan(paper_adam(empty(**options)), 64, 64, 4).peak
    assert planned == pytest.approx(metered(paper_adam(AutoencoderCodec(**options)), images(4, 64, 64)), rel=0.05)
    assert planned < 0.6 * whole.peak


@pytest.mark.parametrize(("rows", "single"), [(8, 1.5), (8, 3.5), (11, 4.5)])
def test_parts_of_many_rows_are_planned(saved, images, rows, single):
    """Encoder and decoder take parts of other sizes, and the last part has fewer rows."""
    path = str(saved("kl"))
    options = {"path": path, "memory_mib": single * plan(paper_adam(empty(path=path)), 64, 96, 1).single / MIB}
    planned = plan(paper_adam(empty(**options)), 64, 96, rows).peak
    assert planned == pytest.approx(metered(paper_adam(AutoencoderCodec(**options)), images(rows, 64, 96)), rel=0.03)


def test_the_largest_batch_that_is_coded_in_parts_is_within_the_budget(saved):
    inversion = paper_adam(empty(path=str(saved("kl")), memory_mib=3.0))
    budget = 6 * MIB
    largest = plan(inversion, 64, 64, 1, budget=budget).largest
    assert largest > 2 * 3 * MIB / plan(inversion, 64, 64, 1).single
    assert plan(inversion, 64, 64, largest).total <= budget < plan(inversion, 64, 64, largest + 1).total


@pytest.mark.parametrize("rows", [2, 12])
def test_few_samples_take_most_in_their_descent_and_many_before_it(saved, images, rows):
    """One graph at a time is much for few samples, and little beside the coding of many."""
    path = str(saved("kl"))

    def make(codec):
        return DecoderInversion(codec, Untrusting, max_iters=2, gradient_steps=1)

    planned, short = (
        plan(kind(empty(path=path)), 32, 64, rows).peak for kind in (make, partial(DecoderInversion, max_iters=2))
    )
    assert (planned > 1.5 * short) == (rows == 2)
    assert planned == pytest.approx(metered(make(full(path)), images(rows, 32, 64)), rel=0.03)


def coding(codec, image):
    """The peak of one encode and one decode whose results are left on the device, and whose input is moved there."""
    with torch.no_grad(), PeakMemory("cpu") as encoding:
        latent = codec.encode(image)
    with torch.no_grad(), PeakMemory("cpu") as decoding:
        codec.decode(latent)
    return max(encoding.bytes + image.nbytes, decoding.bytes + latent.nbytes)


def test_a_state_on_the_host_is_planned(saved, images):
    """What is then left on the accelerator is one decode or one encode, which the CPU's meter knows of."""
    path, image = str(saved("kl")), images(1, 64, 64)
    on_device, alone = plan(long(empty(path=path)), 64, 64, 1), coding(AutoencoderCodec(path), image)
    assert on_device.peak > alone + 12 * image.nbytes
    short = long(empty(path=path, memory_mib=(alone + 8 * image.nbytes) / MIB))
    planned = plan(short, 64, 64, 2, budget=40 * MIB, accelerator=True)
    assert planned.single == pytest.approx(alone, rel=0.02)
    assert planned.total == planned.weights + planned.peak
    assert 2 * 15 * image.nbytes < planned.host < 2 * 25 * image.nbytes
    assert planned.largest == MOST_SAMPLES, "which coding one after the other does not limit"
    state = max(solver_need(Anderson, Stopping(max_iters=30), 1, image.numel() // 48, tuple(image.shape[1:])))
    for memory, hosted in ((alone + state, False), (0.95 * (alone + state), True)):
        planned = plan(long(empty(path=path, memory_mib=memory / MIB)), 64, 64, 1, accelerator=True)
        assert (planned.host > 0) == hosted
        assert planned.peak == pytest.approx(alone if hosted else on_device.peak, rel=0.02)
        assert planned.peak <= 1.01 * memory


def test_the_gradients_of_what_is_on_the_host_are_planned(saved):
    path = str(saved("kl"))
    planned = plan(gradient(empty(path=path, memory_mib=0.7)), 64, 64, 2, accelerator=True)
    assert planned.host > 0
    assert planned.peak == pytest.approx(plan(gradient(empty(path=path)), 64, 64, 2).peak, rel=0.1)


def test_the_state_of_a_clip_on_the_host_is_planned(saved, images):
    path, clip = str(saved("wan")), as_clips(images(5, 16, 16), 5)
    alone = coding(AutoencoderCodec(path), clip)
    planned = plan(long(empty(path=path, memory_mib=1.1 * alone / MIB)), 16, 16, 1, frames=5, accelerator=True)
    assert planned.peak == pytest.approx(alone, rel=0.02)
    assert 15 * clip.nbytes < planned.host < 25 * clip.nbytes


@pytest.mark.parametrize(("name", "make"), [("wan", paper_adam), ("kl", gradient)])
def test_clips_are_planned(saved, images, name, make):
    """Whole clips, of a codec of clips, and of one of images whose frames are one sample."""
    path = str(saved(name))
    clip = as_clips(images(10, 32, 32), 5)
    planned = plan(make(empty(path=path)), 32, 32, 2, frames=5)
    assert planned.frames == 5
    assert planned.peak == pytest.approx(metered(make(AutoencoderCodec(path)), clip), rel=0.05)
    assert planned.total == planned.weights + clip.nbytes + planned.peak


def test_a_codec_of_clips_is_not_planned_for_images(saved):
    with pytest.raises(ValueError, match=r"Expected images of clips with shape \(B, 3, T, H, W\), but got \(1, 3, 32, 32\)"):
        plan(default(empty(path=str(saved("wan")))), 32, 32, 1)


def test_the_largest_batch_is_within_the_budget_and_the_next_one_is_not():
    inversion = DecoderInversion(LinearCodec(stride=8))
    budget = 100 * MIB
    planned = plan(inversion, 64, 64, 2, budget=budget)
    assert planned.largest > 20
    assert plan(inversion, 64, 64, planned.largest).total <= budget
    assert plan(inversion, 64, 64, planned.largest + 1).total > budget
    assert plan(inversion, 64, 64, 1, budget=planned.weights).largest == 0
    assert plan(inversion, 64, 64, 1).largest is None


def test_the_codec_of_stable_diffusion_is_planned_without_its_weights(tmp_path):
    blocks = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL", **blocks, **kinds}))
    began = time.process_time()
    before = resident()
    codec = empty(path=str(tmp_path))
    forward = plan(DecoderInversion(codec, load_update(ADAM)), 512, 512, 1, budget=24 * 2**30)
    backward = plan(GradientInversion(codec), 512, 512, 1)
    assert time.process_time() - began < 30
    assert resident() - before < 512
    assert forward.weights / MIB == pytest.approx(319, rel=0.01)
    assert forward.peak / MIB == pytest.approx(769, rel=0.001)  # one decode
    assert backward.peak / MIB == pytest.approx(5879, rel=0.02)  # and its graph; where attention is not fused, 56 more
    assert forward.largest == pytest.approx((24 * 1024 - 319) / (3 + 769), rel=0.02)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "`batch_size` to be at least 1, but got 0"),
        ({"budget": 0}, "`budget` to be above 0 bytes, but got 0"),
        ({"precision": "16-true"}, "`precision` to be one of 32-true, .* but got '16-true'"),
        ({"height": 65}, "multiples of 8, but got 65 x 64"),
    ],
)
def test_bad_arguments_are_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan(default(empty()), **{"height": 64, "width": 64, **options})


def test_an_inversion_that_was_planned_still_runs(images):
    inversion = default(full())
    plan(inversion, 64, 64, 1)
    assert inversion.codec is full()
    assert metered(inversion, images(1, 64, 64)) > 0


def test_the_evaluation_after_the_last_update_is_tried_out_in_a_long_chunk_too():
    """The solver's memory is found within a few iterations, and the end of the chunk is still part of it."""
    ended = []

    class Watched(Anderson):
        def solution(self):
            ended.append(True)
            return super().solution()

    solver_need(Watched, Stopping(500, last_iterate=True), 2, 64, (3, 16, 16))
    assert ended


@pytest.mark.parametrize("pool", [1, 3])
@pytest.mark.parametrize("shape", [(3, 600, 1000), (3, 5, 240, 320), (3, 40, 3000)])
def test_a_part_of_a_large_image_tells_what_all_of_it_needs(monkeypatch, shape, pool):
    point, stopping, update = prod(shape) // 48, Stopping(max_iters=30), partial(Anderson, pool=pool)
    small = solver_need.__wrapped__(update, stopping, 1, point, shape)
    monkeypatch.setattr(solver_memory, "MOST_VALUES", 2**30)
    assert small == pytest.approx(solver_need.__wrapped__(update, stopping, 1, point, shape), rel=0.02)
