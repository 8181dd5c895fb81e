"""Merging: the order of the inputs, gaps, duplicates and lost latents."""

import pytest
import torch

from decinv.rows import Row
from decinv.runs import Input, RunDirectory, Share, merge
from decinv.runs.__main__ import main
from decinv.runs.latents import write_latents
from decinv.runs.merge import ranges, survey
from decinv.runs.table import read_rows
from decinv.status import Status


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path)
    run.inputs(lambda: [Input(number, f"{number}.png") for number in range(6)])
    return run


def row(number, status=Status.CONVERGED, **options):
    return Row(f"{number}.png", status, number=number, **options)


def test_rows_of_all_processes_in_the_order_of_the_inputs(run, capsys):
    run.append(Share(1, 2), [row(4), row(1)])
    run.append(Share(0, 2), [row(5), row(0), row(3), row(2)])
    report = merge(run)
    assert [found.number for found in read_rows(run.results)] == [0, 1, 2, 3, 4, 5]
    assert (report.complete, report.failed, report.missing, report.repeated) == (True, 0, (), ())
    assert survey(run) == report
    assert main([str(run.path)]) == 0
    assert "6 of 6 inputs are done\n  CONVERGED: 6" in capsys.readouterr().out


def test_gaps_and_duplicates_are_told(run, capsys):
    run.append(Share(0, 2), [row(0), row(1, seconds=1.0)])
    run.append(Share(1, 2), [row(1, seconds=2.0), row(5)])
    assert not survey(run).complete
    assert main([str(run.path)]) == 1
    output = capsys.readouterr().out
    assert "3 of 6 inputs are done" in output
    assert "missing: 3 (2-4)" in output
    assert "more than one row, of which the last counts: 1 (1)" in output
    assert [found.seconds for found in read_rows(run.results)] == [None, 2.0, None]


def test_failures_show_in_the_exit_status(run, capsys):
    run.append(Share(), [row(number) for number in range(5)])
    run.append(Share(), [row(5, Status.UNREADABLE, reason="Gone.")])
    assert main([str(run.path)]) == 3
    assert "UNREADABLE: 1" in capsys.readouterr().out


def test_rows_whose_latents_are_lost_do_not_count(run):
    file = run.latents_file(0)
    write_latents(run.path / file, {"0.png": torch.zeros(4, 1, 1), "1.png": torch.ones(4, 1, 1)}, {})
    run.append(Share(), [row(number, latents=file) for number in range(3)] + [row(3), row(4), row(5)])
    assert list(run.done(6)) == [1, 1, 0, 1, 1, 1]
    assert merge(run).missing == (2,)
    assert torch.equal(run.latent(next(run.rows())), torch.zeros(4, 1, 1))
    (run.path / file).write_bytes((run.path / file).read_bytes()[:-1])
    assert list(run.done(6)) == [0, 0, 0, 1, 1, 1]
    run.repair(Share())
    assert [found.number for found in read_rows(run.table(Share()))] == [3, 4, 5]
    run.append(Share(), [row(0), row(1), row(2)])
    assert merge(run).repeated == ()


def test_a_torn_table_is_repaired_before_more_is_added(run):
    run.append(Share(), [row(0), row(1)])
    table = run.table(Share())
    table.write_bytes(table.read_bytes()[:-4])
    run.repair(Share())
    run.append(Share(), [row(1)])
    assert [found.number for found in read_rows(table)] == [0, 1]


def test_no_run(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "Expected the directory of a run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_error_of_the_user_is_raised(run, monkeypatch, capsys):
    def fail(error):
        raise error

    monkeypatch.setattr("decinv.runs.__main__.merge", lambda _: fail(ValueError("a bug")))
    with pytest.raises(ValueError, match="a bug"):
        main([str(run.path)])
    monkeypatch.setattr("decinv.runs.__main__.merge", lambda _: fail(PermissionError("results.csv")))
    assert main([str(run.path)]) == 2
    assert capsys.readouterr().err.startswith("decinv.runs: error: Expected a run that can be read and written, but got: ")


def test_deleting_a_run_leaves_what_is_not_its_own(run):
    run.append(Share(), [row(0)])
    merge(run)
    (run.path / "notes.txt").write_text("keep")
    run.delete()
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("numbers", "text"), [((), ""), ((3,), "3"), ((0, 1, 2, 5, 7, 8), "0-2, 5, 7-8"), (tuple(range(0, 20, 2)), None)]
)
def test_ranges(numbers, text):
    assert ranges(numbers) == ("0, 2, 4, 6, 8, 10, 12, 14, and 2 more" if text is None else text)


def test_rows_of_another_list_are_refused(run):
    run.append(Share(), [row(0)])
    with pytest.raises(ValueError, match=r"Expected rows of the 0 inputs .* has the number '0'"):
        run.done(0)
