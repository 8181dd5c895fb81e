import errno
import itertools
import shutil
import signal
import warnings
from pathlib import Path

import pytest
import torch
from lightning import Callback

from decinv.batch import Batch
from decinv.callbacks import ChunkCheckpoint, Memory, ResultWriter
from decinv.interruption import Interrupted
from decinv.modules import DecoderInversion
from decinv.runs import RunDirectory
from decinv.updates import Anderson, ForwardStep, Scheduled, WarmupCosine

RULES = {
    "forward": lambda params: ForwardStep(params, 0.9),
    "anderson": Anderson,
    "adam": lambda params: Scheduled(params, lambda p: torch.optim.Adam(p, lr=0.05), WarmupCosine),
}


class Results(Callback):
    """Keep each chunk's outcome, the iterations at which steps ended, and the files that were there after each."""

    def __init__(self, stop_at=None, error=None):
        self.stop_at, self.error = stop_at, error
        self.results, self.iterations, self.files = [], [], []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.iterations.append(pl_module.solver.iteration)
        self.files.append(len(files(Path(trainer.default_root_dir))))
        if self.stop_at == pl_module.solver.iteration and self.error is not None:
            raise self.error

    def on_train_epoch_end(self, trainer, pl_module):
        self.results.append(pl_module.result)


def files(root):
    return sorted(root.glob("checkpoints/*"))


def equal(found, expected):
    same = (
        torch.equal(getattr(found, name).nan_to_num(), getattr(expected, name).nan_to_num())
        for name in ("latent", "residual", "history", "iterations", "evaluations")
    )
    return all(same) and found.status == expected.status


@pytest.fixture
def batch(make_batch, codec):
    """Samples that finish at different iterations: an eigenvector, one solved at once, one never finite, noise."""
    made = make_batch(["a/b.png", "solved", "broken", "far \udce9 猫"])
    image = made.image.clone()
    vector = torch.linalg.eigh(codec.matrix)[1][:, -2].view(1, 4, 1, 1)
    image[:1] = codec.decode(vector * made.latent[:1, :1])
    image[1] = 0
    image[2, 0, 0, 0] = torch.nan
    image[3] = torch.rand(image[3].shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return made._replace(image=image, latent=None)


@pytest.fixture
def run(fit, codec, tmp_path):
    """Invert chunks; gives what was recorded. The run directory is the same each time."""

    def run(batches, *callbacks, update=RULES["forward"], max_iters=12, rtol=0.01, stop_at=None, error=None):
        record = Results(stop_at, error)
        module = DecoderInversion(codec, update, max_iters, rtol, patience=None)
        if error is None:
            fit([*callbacks, record], batches, module=module)
        else:
            with pytest.raises(type(error)):
                fit([*callbacks, record], batches, module=module)
        return record

    return run


@pytest.fixture
def root(tmp_path):
    return tmp_path / "run"


@pytest.mark.parametrize(("name", "rtol", "stop_at"), [("forward", 0.01, 5), ("anderson", 0.01, 3), ("adam", 0.1, 5)])
def test_a_run_that_broke_off_continues_bit_for_bit(run, root, batch, name, rtol, stop_at):
    options = {"update": RULES[name], "rtol": rtol}
    expected = run([batch], **options).results[0]
    ends = sorted(set(expected.iterations.tolist()))
    last = ends[-1]
    assert len(ends) == 3
    assert ends[0] < stop_at < last
    run([batch], ChunkCheckpoint(), stop_at=stop_at, error=RuntimeError("out of order"), **options)
    (path,) = files(root)
    assert path.suffix == ".pt"
    again = run([batch], Memory(), ChunkCheckpoint(), **options)
    assert again.iterations == list(range(stop_at + 1, last + 1))
    assert equal(again.results[0], expected)
    assert files(root) == []


def broken_off(function, call):
    """Give the function, of which one call raises an error; calls count from 1."""
    calls = itertools.count(1)

    def run(*args):
        if next(calls) == call:
            raise RuntimeError("broken off")
        return function(*args)

    return run


def test_the_last_checkpoint_counts_when_a_step_broke_off_in_its_middle(run, root, batch, monkeypatch):
    expected = run([batch]).results[0]
    with monkeypatch.context() as patch:
        patch.setattr(ForwardStep, "update", broken_off(ForwardStep.update, call=4))
        run([batch], ChunkCheckpoint(every_n_seconds=0), error=RuntimeError())
    assert len(files(root)) == 1
    again = run([batch], ChunkCheckpoint())
    assert again.iterations[0] == 4
    assert equal(again.results[0], expected)


def test_an_interrupted_evaluation_loses_no_step(run, root, batch, codec, monkeypatch):
    expected = run([batch]).results[0]
    with monkeypatch.context() as patch:
        patch.setattr(codec, "decode", broken_off(codec.decode, call=6))
        run([batch], ChunkCheckpoint(), error=RuntimeError())
    again = run([batch], ChunkCheckpoint())
    assert again.iterations[0] == 6
    assert equal(again.results[0], expected)


def test_the_second_chunk_continues_and_the_first_is_not_looked_at(run, root, batch, make_batch):
    first = make_batch(["first"], seed=1)
    expected = run([first, batch]).results
    checkpoint = ChunkCheckpoint()
    run([first._replace(image=first.image * 0), batch], checkpoint, stop_at=3, error=RuntimeError())
    again = run([first, batch], ChunkCheckpoint())
    assert again.iterations.count(1) == 1
    assert again.iterations.count(3) == 1
    assert all(map(equal, again.results, expected))
    assert files(root) == []


def test_files_are_written_in_time_and_removed_when_all_have_seen_the_chunk(run, root, make_batch):
    batches = [make_batch(["a"]), make_batch(["b"], seed=1)]
    often = run(batches, ChunkCheckpoint(every_n_seconds=0))
    last = often.iterations[-1]
    assert often.files == [1] * last + [1] * last, "of the first chunk until the second begins"
    assert files(root) == []
    shutil.rmtree(root / "checkpoints")
    run(batches, ChunkCheckpoint(every_n_seconds=1000))
    assert not (root / "checkpoints").exists()


def change_images(root, batch):
    image = batch.image.clone()
    image[0, 0, 0, 0] += 1e-6
    return batch._replace(image=image)


def cut(root, batch):
    (path,) = files(root)
    path.write_bytes(path.read_bytes()[:-1000])


def empty(root, batch):
    (path,) = files(root)
    path.write_bytes(b"")


def flip(root, batch):
    """Change one bit of the residuals."""
    (path,) = files(root)
    content = bytearray(path.read_bytes())
    history = torch.load(path, weights_only=True)["solver"]["history"]
    start = content.index(history.numpy().tobytes())
    content[start + 2] ^= 1
    path.write_bytes(content)


def rename(root, batch):
    (path,) = files(root)
    content = torch.load(path, weights_only=True)
    torch.save(content | {"names": ["x", "y"]}, path)


def other_format(root, batch):
    (path,) = files(root)
    torch.save({"names": list(batch.names)}, path)


def older(root, batch):
    """Leave out what an older version did not know of."""
    (path,) = files(root)
    content = torch.load(path, weights_only=True)
    del content["solver"]["waited"]
    path.unlink()
    torch.save(content, path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (older, "waited"),
        (change_images, "the same images, but those of a/b.png and 3 more have changed"),
        (cut, "not a zip file"),
        (empty, "not a zip file"),
        (flip, "is damaged"),
        (rename, "Expected the checkpoint of a/b.png and 3 more, but got that of x and 1 more"),
        (other_format, "images"),
    ],
)
def test_a_file_that_does_not_fit_is_ignored(run, root, batch, spoil, message):
    run([batch], ChunkCheckpoint(), stop_at=4, error=RuntimeError())
    batch = spoil(root, batch) or batch
    with pytest.warns(UserWarning, match=f"ignored and its chunk starts at the beginning: .*{message}"):
        again = run([batch], ChunkCheckpoint())
    assert again.iterations[0] == 1
    assert equal(again.results[0], run([batch]).results[0])
    assert files(root) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iters": 9}, "in at most 9 iterations, but got .* in at most 12"),
        ({"update": RULES["anderson"]}, "under Anderson .* but got .* under ForwardStep"),
        ({"update": RULES["adam"]}, "under Scheduled Adam .* but got .* under ForwardStep"),
    ],
)
def test_other_settings_start_again(run, root, batch, options, message):
    run([batch], ChunkCheckpoint(), stop_at=4, error=RuntimeError())
    with pytest.warns(UserWarning, match=message):
        again = run([batch], ChunkCheckpoint(), **options)
    assert again.iterations[0] == 1
    assert equal(again.results[0], run([batch], **options).results[0])


def test_a_run_that_the_trainer_ends_early_can_be_continued(run, root, batch):
    expected = run([batch]).results[0]

    class Stop(Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            trainer.should_stop = pl_module.solver.iteration == 3

    run([batch], Stop(), ChunkCheckpoint())
    assert len(files(root)) == 1
    again = run([batch], ChunkCheckpoint())
    assert again.iterations[0] == 4
    assert equal(again.results[0], expected)


def test_a_chunk_without_samples_has_no_file(run, root):
    nothing = Batch(torch.zeros(0, 3, 8, 8), ())
    assert len(run([nothing], ChunkCheckpoint(every_n_seconds=0)).results) == 1
    assert not (root / "checkpoints").exists()


def test_a_checkpoint_that_cannot_be_written_does_not_hide_why_the_run_ended(run, root, batch):
    root.mkdir()
    (root / "checkpoints").write_text("in the way")
    with pytest.warns(UserWarning, match=r"Expected to write .*\.pt, but: .*File exists"):
        run([batch], ChunkCheckpoint(), stop_at=2, error=ZeroDivisionError())


def test_a_full_disk_is_told_of_as_one(run, root, batch, monkeypatch):
    def save(content, file):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 69632 vs 69520")

    monkeypatch.setattr(torch, "save", save)
    with pytest.warns(UserWarning, match="No space left on device"):
        run([batch], ChunkCheckpoint(every_n_seconds=0), error=OSError())


def test_a_signal_while_a_checkpoint_is_written_is_told_of_as_one_and_loses_no_step(run, root, batch, monkeypatch):
    expected, save = run([batch]).results[0], torch.save

    class Disturbed:
        """A file during the second writing to which the signal comes."""

        def __init__(self, file):
            self.file = file

        def write(self, content):
            if next(writes) == 2:
                raise Interrupted(signal.SIGTERM)
            return self.file.write(content)

        def __getattr__(self, name):
            return getattr(self.file, name)

    with monkeypatch.context() as patch:
        writes = itertools.count(1)
        patch.setattr(torch, "save", lambda content, file: save(content, Disturbed(file)))
        run([batch], ChunkCheckpoint(every_n_seconds=0), error=Interrupted(signal.SIGTERM))
    again = run([batch], ChunkCheckpoint())
    assert again.iterations[0] == 2
    assert equal(again.results[0], expected)


def test_an_error_before_the_first_chunk_writes_nothing(run, root, batch, codec, monkeypatch):
    def fail(image):
        raise RuntimeError("no encoder")

    monkeypatch.setattr(codec, "encode", fail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run([batch], ChunkCheckpoint(every_n_seconds=0), error=RuntimeError())
    assert not (root / "checkpoints").exists()


def test_the_table_of_a_continued_chunk_is_that_of_an_uninterrupted_one(run, root, batch):
    batch = batch._replace(names=("a/b.png", "solved", "broken", "far"))
    run([batch], ResultWriter())
    expected = list(RunDirectory(root).rows())
    RunDirectory(root).delete()
    run([batch], ChunkCheckpoint(), stop_at=5, error=RuntimeError())
    run([batch], ChunkCheckpoint(), ResultWriter())
    assert files(root) == []
    found = list(RunDirectory(root).rows())
    assert [row._replace(seconds=None) for row in found] == [row._replace(seconds=None) for row in expected]
    assert any(row.encoder_psnr_db is not None for row in found)


def test_the_file_stays_when_the_results_could_not_be_written(run, root, batch):
    class Full(Callback):
        def on_train_end(self, trainer, pl_module):
            raise OSError("No space left on device")

    run([batch], ChunkCheckpoint(every_n_seconds=0), Full(), error=OSError())
    assert len(files(root)) == 1


def test_what_broken_starts_left_of_finished_chunks_goes_when_all_rows_are_there(run, root, batch):
    batch = batch._replace(names=("a", "b", "c", "d"))
    (root / "checkpoints").mkdir(parents=True)
    for name in ("0123.pt", ".4567.pt..part"):
        (root / "checkpoints" / name).touch()
    run([batch], ChunkCheckpoint())
    assert len(files(root)) == 2, "without rows nobody knows what is finished"
    run([batch], ChunkCheckpoint(), ResultWriter())
    assert files(root) == []


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_seconds_out_of_range_are_refused(seconds):
    with pytest.raises(ValueError, match="`every_n_seconds` to be at least 0, but got"):
        ChunkCheckpoint(seconds)
