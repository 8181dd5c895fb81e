from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils._python_dispatch import _get_current_dispatch_mode

from decinv.callbacks import Memory, ResultWriter
from decinv.memory import PeakMemory
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates import ForwardStep


def test_the_first_chunk_of_each_shape_is_measured(fit, make_batch, tmp_path, monkeypatch):
    entered = []
    enter = PeakMemory.__enter__
    monkeypatch.setattr(PeakMemory, "__enter__", lambda self: entered.append(1) or enter(self))
    memory = Memory()
    logger = CSVLogger(tmp_path, name="", version="log")
    shapes = [16, 32, 16, 32]
    batches = [make_batch([f"{i}"], seed=i, side=side) for i, side in enumerate(shapes)]
    fit([ResultWriter(), memory], batches, logger=logger)
    assert len(entered) == 2
    lines = (tmp_path / "run" / "results.csv").read_text().splitlines()[1:]
    peaks = [float(line.split(",")[9]) for line in lines]
    assert peaks[0] == peaks[2]
    assert peaks[1] == peaks[3]
    assert 3.5 < peaks[1] / peaks[0] <= 4  # four times the pixels, but for what there is one of a sample
    logged = [line.split(",") for line in (tmp_path / "log" / "metrics.csv").read_text().splitlines()]
    column, step = logged[0].index("peak_mib"), logged[0].index("step")
    assert [line[step] for line in logged[1:]] == ["0", "1", "2", "3"]
    assert [float(line[column]) for line in logged[1:]] == pytest.approx(peaks, rel=1e-5)
    assert _get_current_dispatch_mode() is None


def test_of_many_chunks_ever_fewer_are_logged():
    logged = []
    logger = SimpleNamespace(log_metrics=lambda scalars, step: logged.append(step))
    memory = Memory()
    memory.peak_mib = 1.0
    for chunk in range(3000):
        memory.on_train_epoch_end(SimpleNamespace(loggers=[logger], current_epoch=chunk), None)
    assert logged == [*range(1000), *range(1000, 2000, 2), *range(2000, 3000, 4)]


def test_the_figure_is_that_of_the_solver_alone(fit, make_batch, codec):
    batch = make_batch(["a", "b"], side=32, known=False)
    memory = Memory()
    module, _, _ = fit([memory], [batch])
    point = torch.nn.Parameter(torch.empty(0))
    solver = Solver(point, ForwardStep([point]), Stopping(6, 0.0, None))
    with PeakMemory("cpu") as peak:
        solver.start(module.problem(batch.image))
        while not solver.done:
            solver.step()
    assert memory.peak_mib == pytest.approx(peak.mib, rel=0.01)
    assert memory.peak_mib > 2 * batch.image.nbytes / 2**20


def test_an_error_ends_the_measuring(fit, make_batch, codec, monkeypatch):
    def fail(latent):
        raise RuntimeError("out of order")

    monkeypatch.setattr(codec, "decode", fail)
    with pytest.raises(RuntimeError, match="out of order"):
        fit([Memory()], [make_batch(["a"])])
    assert _get_current_dispatch_mode() is None
