import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.profiler import ProfilerActivity, profile

from decinv.codecs.autoencoder import AutoencoderCodec
from decinv.memory import MIB, PeakMemory, in_halves
from decinv.problems import DecoderProblem, GradientProblem
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates import Anderson

IMAGE = 3 * 64 * 64 * 4
LATENT = 4 * 32 * 32 * 4
HISTORY = 2


@pytest.fixture
def codec(tmp_path):
    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    ).save_pretrained(tmp_path)
    return AutoencoderCodec(str(tmp_path))


def profiled_peak(function):
    """The largest sum of allocated bytes that torch's own profiler saw."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        function()
    sizes = [event.nbytes() for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert sizes
    live = peak = 0
    for size in sizes:
        live += size
        peak = max(peak, live)
    return peak


def test_known_sizes():
    before = torch.ones(1000)
    with PeakMemory("cpu") as peak:
        first = before + 1  # 4000 bytes
        first.view(10, 100).add_(1)  # a view, in place: nothing
        before.mul_(2)  # live before: nothing
        second = torch.cat([first, first])  # 8000 bytes
        assert peak.bytes == 12000
        del first
        third = second[:500].double()  # 4000 bytes, in place of the first
        assert peak.bytes == 12000
        third.resize_(2000)  # 16000 bytes
        assert peak.bytes == 24000
        del second, third
    after = torch.ones(100000)
    assert peak.bytes == 24000
    assert peak.mib == 24000 / MIB
    assert len(after) == 100000


def test_the_meter_agrees_with_the_profiler():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 512), nn.GELU(), nn.Linear(512, 64), nn.Softmax(-1))
    inputs = torch.randn(32, 64)

    def forward_and_backward():
        model(inputs).square().sum().backward()

    forward_and_backward()
    model.zero_grad(set_to_none=False)
    expected = profiled_peak(forward_and_backward)
    with PeakMemory("cpu") as peak:
        forward_and_backward()
    assert expected > 3 * 32 * 512 * 4
    assert peak.bytes == pytest.approx(expected, rel=0.02)


def test_the_meter_agrees_with_the_profiler_on_a_decode(codec):
    latent = torch.randn(1, 4, 32, 32)
    with torch.no_grad():
        expected = profiled_peak(lambda: codec.decode(latent))
        with PeakMemory("cpu") as peak:
            codec.decode(latent)
    assert peak.bytes <= 1.01 * expected
    assert peak.bytes > 0.6 * expected  # the profiler sees what a convolution uses for itself


def peaks(problem):
    """The peaks of the third step of an inversion, and of the whole inversion of three steps."""
    point = nn.Parameter(torch.empty(0))
    solver = Solver(point, Anderson([point], history=HISTORY), Stopping(3, 0.0, None))
    with PeakMemory("cpu") as whole:
        solver.start(problem)
        solver.step()
        solver.step()
        with PeakMemory("cpu") as step:
            solver.step()
    return step.bytes, whole.bytes


def test_a_gradient_free_step_needs_one_decode_or_one_encode(codec):
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        with PeakMemory("cpu") as encode:
            latent = codec.encode(image)
        with PeakMemory("cpu") as decode:
            codec.decode(latent)
    one = max(decode.bytes, encode.bytes + IMAGE)  # D(z) is there while E runs
    step, whole = peaks(DecoderProblem(codec, image))
    assert one <= step <= one + 2 * LATENT
    history = (HISTORY - 1) * (3 * LATENT + IMAGE)  # Anderson's differences of iterate, T, and latent and pixel residual
    history += 2 * LATENT + (LATENT + IMAGE)  # its best iterate with T and r
    assert 0 <= whole - step - history <= 10 * LATENT  # target, point, best and last point, and what the step leaves behind
    gradient_step, _ = peaks(GradientProblem(codec, image))
    assert gradient_step > 4 * step


def test_meta_tensors_predict_the_peak_without_computing(codec):
    latent = torch.randn(1, 4, 32, 32)
    with torch.no_grad():
        with PeakMemory("cpu") as real:
            codec.decode(latent)
        codec.to("meta")
        latent = latent.to("meta")
        with PeakMemory("meta") as predicted:
            codec.decode(latent)
    assert predicted.bytes == real.bytes > 0


def test_an_exception_ends_the_measuring():
    with pytest.raises(ZeroDivisionError), PeakMemory("cpu") as peak:  # noqa: PT012
        torch.ones(10)
        raise ZeroDivisionError
    torch.ones(1000)
    assert peak.bytes == 40


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_in_halves_until_it_fits(most):
    sizes = []

    def work(rows):
        if len(rows) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        sizes.append(len(rows))
        return rows * 2

    rows = torch.arange(7.0)
    assert torch.equal(in_halves(work, rows), rows * 2)
    assert sizes == {1: [1] * 7, 2: [2, 2, 2, 1], 3: [2, 2, 3], 7: [7]}[most]


def test_one_row_that_does_not_fit_and_other_errors_are_raised():
    def fail(error):
        raise error

    for error in (torch.OutOfMemoryError("CUDA out of memory."), MemoryError()):
        with pytest.raises(type(error)):
            in_halves(lambda rows, error=error: fail(error), torch.zeros(4))
    with pytest.raises(RuntimeError, match="a bug"):
        in_halves(lambda rows: fail(RuntimeError("a bug")), torch.zeros(4))


def test_code_that_was_measured_is_compiled_afterwards():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    double = torch.compile(lambda rows: rows + rows, backend=backend)
    rows = torch.ones(256)
    with PeakMemory("cpu") as peak:
        double(rows)
    assert peak.bytes == 1024
    assert not graphs
    assert torch.equal(double(rows), 2 * rows)
    assert len(graphs) == 1
