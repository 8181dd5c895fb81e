import pytest
import torch
from lightning import Callback
from rich.console import Console

from decinv.batch import Batch, Failure
from decinv.callbacks import ChunkCallback, InversionProgress, Memory, Summary, base
from decinv.callbacks.progress import _fitting
from decinv.callbacks.summary import closing_table
from decinv.callbacks.tally import Tally
from decinv.data import ChunkData, GeneratedClips
from decinv.rows import Row
from decinv.status import Status


def test_a_log_gets_lines(fit, make_batch):
    batches = [make_batch(["a", "b"]), make_batch(["c"], failures=(Failure("x", "Gone."),))]
    _, _, output = fit([InversionProgress(seconds_between_lines=0)], batches)
    first, second = output.getvalue().splitlines()
    assert first.startswith("2/4 images, chunk 1, ")
    assert second.startswith("4/4 images, chunk 2, ")
    assert second.endswith(" images/s")
    assert "\x1b" not in output.getvalue()


def test_lines_are_rare(fit, make_batch):
    _, _, output = fit([InversionProgress(seconds_between_lines=1000)], [make_batch([str(i)], seed=i) for i in range(4)])
    assert output.getvalue().startswith("1/4 images")
    assert output.getvalue().count("\n") == 1


@pytest.mark.parametrize(("width", "shown"), [(120, "active 1/1"), (50, "chunk 1")])
def test_a_terminal_gets_a_bar(fit, make_batch, width, shown):
    _, _, output = fit([InversionProgress(refreshes_per_second=10)], [make_batch(["a"])], terminal=True, width=width)
    text = output.getvalue()
    assert "0/1 images" in text
    assert "1/1 images" in text
    assert shown in text
    assert "…" not in text
    assert text.rstrip().endswith("\x1b[?25h")  # the cursor is visible again


def test_an_error_gives_the_terminal_back(fit, make_batch, codec, monkeypatch):
    batch = make_batch(["a"])

    def fail(latent):
        raise RuntimeError("out of order")

    monkeypatch.setattr(codec, "decode", fail)
    progress = InversionProgress()
    with pytest.raises(RuntimeError, match="out of order"):
        fit([progress], [batch], terminal=True)
    assert progress._bar is None


def test_parts_that_do_not_fit_are_left_out():
    parts = ("12 images/s", "chunk 3", "iteration 1/50")
    assert _fitting(parts, 80) == "12 images/s  chunk 3  iteration 1/50"
    assert _fitting(parts, 20) == "12 images/s  chunk 3"
    assert _fitting(parts, 5) == "12 images/s"


@pytest.mark.parametrize("options", [{"refreshes_per_second": 0}, {"refreshes_per_second": 11}, {"seconds_between_lines": -1}])
def test_progress_options_are_checked(options):
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        InversionProgress(**options)


def cells(table):
    return dict(zip(*(list(column.cells) for column in table.columns), strict=True))


def test_the_closing_table_says_what_the_rows_say():
    rows = [
        Row("a", Status.CONVERGED, 5, 5, 1e-6, 30.0, 25.0, -30.0, 2.0, 100.0),
        Row("b", Status.CONVERGED, 5, 5, 1e-4, 40.0, 25.0, -40.0, 4.0, 200.0),
        Row("c", Status.MAX_ITERS, 5, 5, 1e-2, float("inf"), 25.0, None, 3.0, 200.0),
        Row("d", Status.UNREADABLE, reason="Gone."),
    ]
    assert cells(closing_table(Tally.of(rows), 8.0, "somewhere")) == {
        "converged": "2",
        "max iters": "1",
        "unreadable": "1",
        "latent NMSE": "mean -35.00 ± 9.80 dB, worst -30.00 dB",
        "relative residual": "median 1.00e-04, worst 1.00e-02",
        "PSNR of D(z)": "mean 35.00 ± 9.80 dB (1 exact), worst 30.00 dB",
        "computing": "3 s an image",
        "wall time": "8 s, 0.5 images/s",
        "peak memory": "200 MiB beside weights and images",
        "results": "somewhere",
    }


def test_the_closing_table_of_inverted_samplers():
    exact = {"nmse_db": -float("inf"), "psnr_db": 50.0}
    rows = [Row("a", Status.CONVERGED, **exact, noise_nmse_db=value, round_trip_nmse_db=-40.0) for value in (-80.0, -60.0)]
    table = cells(closing_table(Tally.of(rows), 8.0, "x"))
    assert table["latent NMSE"] == "exact"
    assert table["noise NMSE"] == "mean -70.00 ± 19.60 dB, worst -60.00 dB"
    assert table["PSNR of the round trip"] == "mean 50.00 ± 0.00 dB, worst 50.00 dB"
    assert "PSNR of D(z)" not in table


def test_the_table_of_unreadable_inputs_alone():
    assert cells(closing_table(Tally.of([Row("d", Status.UNREADABLE)]), 8.0, "x")) == {
        "unreadable": "1",
        "wall time": "8 s, 0.125 images/s",
        "results": "x",
    }


def test_the_name_of_the_run_is_no_markup(capsys):
    Console(width=80).print(closing_table(Tally.of([Row("d", Status.UNREADABLE)]), 8.0, "runs/[/b][red]x"))
    assert "runs/[/b][red]x" in capsys.readouterr().out


def test_the_table_closes_a_run(fit, make_batch, tmp_path):
    _, _, output = fit([Summary(), Memory()], [make_batch(["a", "b"]), make_batch(["c"], seed=1)], width=60)
    text = output.getvalue()
    assert "3 images" in text
    assert "max iters" in text
    assert "latent NMSE" in text
    assert "peak memory" in text
    assert max(map(len, text.splitlines())) <= 60


def test_frames_are_called_frames(fit, make_batch, monkeypatch):
    assert GeneratedClips().sample == "frame"
    assert GeneratedClips(unit="clip").sample == "clip"
    monkeypatch.setattr(ChunkData, "sample", GeneratedClips().sample)
    _, _, output = fit([Summary(), InversionProgress(seconds_between_lines=0)], [make_batch(["a", "b"])])
    line, *table = output.getvalue().splitlines()
    assert line.startswith("2/2 frames, chunk 1, ")
    assert line.endswith(" frames/s")
    assert table[0].strip() == "2 frames"
    assert "s a frame" in output.getvalue()
    assert "frames/s" in "".join(table)


def test_no_images_at_all(fit):
    _, _, output = fit([Summary(), InversionProgress()], [])
    assert "No image was left" in output.getvalue()


def test_a_chunk_that_the_trainer_ended_early_was_left_to_invert(fit, make_batch):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, *args):
            trainer.should_stop = True

    _, _, output = fit([Summary(), Stop()], [make_batch(["a"])])
    assert output.getvalue() == "No image was finished.\n"


def test_observers_refuse_other_modules(fit):
    from lightning import LightningModule

    class Other(LightningModule):
        def training_step(self, batch: Batch, batch_idx: int) -> None: ...

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])

    for callback in (Summary(), Memory()):
        with pytest.raises(TypeError, match=r"to observe an inversion, but got Other; remove it from `trainer\.callbacks`"):
            fit([callback], [], module=Other())


def test_a_chunk_is_put_together_once_and_let_go(fit, make_batch):
    seen = []

    class Observer(ChunkCallback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            assert pl_module not in base._finished

        def on_chunk_end(self, trainer, pl_module, chunk):
            seen.append(chunk)

    fit([Observer(), Observer()], [make_batch(["a"]), make_batch(["b"], seed=1)])
    assert [chunk.rows[0].name for chunk in seen] == ["a", "a", "b", "b"]
    assert seen[0] is seen[1]
    assert seen[2] is seen[3]
