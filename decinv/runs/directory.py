"""The run directory: what is in it, and what of the run is done."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from decinv.rows import Row
from decinv.runs.inputs import Input, InputList
from decinv.runs.latents import names_in, noise_file, read_latent
from decinv.runs.share import Share
from decinv.runs.table import append_rows, format_cells, parse_row, read_cells, write_table

NUMBER, NAME, LATENTS = (Row._fields.index(column) for column in ("number", "name", "latents"))

WRITTEN = (
    "config.yaml",
    "inputs.jsonl",
    "results.csv",
    "watermark.csv",
    "detection.csv",
    "confusion.csv",
    "roc.csv",
    "convergence.png",
    "edits",
    "edits.csv",
    "events.out.tfevents.*",
    "hparams.yaml",
    "checkpoints",
    "clips",
    "clips.csv",
    "frames.csv",
    "images",
    "latents",
    "noise",
    "reconstructions",
    "tables",
)
"""What runs write into their directory."""


class RunDirectory:
    """Everything that a run writes, made by any number of processes that do not talk to each other.

    ``inputs.jsonl`` is the list of inputs, written once; ``tables/I-of-N.csv`` the rows of the process with share I of N, and
    only that process writes it; ``latents/NUMBER.safetensors`` the latents of the chunk whose first input has that number;
    ``results.csv`` the rows of all processes in the order of the inputs, made by ``decinv.runs.merge``.
    """

    def __init__(self, path: str | Path) -> None:
        """Take the directory, which need not exist yet."""
        self.path = Path(path)

    @property
    def results(self) -> Path:
        """The merged table."""
        return self.path / "results.csv"

    @property
    def tables(self) -> tuple[Path, ...]:
        """The tables of all processes, in the order of their names."""
        return tuple(sorted((self.path / "tables").glob("*.csv")))

    @property
    def config(self) -> Path:
        """The configuration of the run."""
        return self.path / "config.yaml"

    @property
    def input_file(self) -> Path:
        """The list of inputs."""
        return self.path / "inputs.jsonl"

    def delete(self) -> None:
        """Delete what a run writes, and nothing else."""
        for name in WRITTEN:
            for path in self.path.glob(name):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    @property
    def begun(self) -> bool:
        """Whether a run has come so far that there is something to continue."""
        return any(path.exists() for path in (self.input_file, self.results, self.path / "tables", self.path / "latents"))

    def table(self, share: Share) -> Path:
        """The table of a share's process."""
        return self.path / "tables" / f"{share.label}.csv"

    def inputs(self, make: Callable[[], Iterable[Input]] | None = None) -> InputList:
        """Open the list of inputs; ``make`` gives them where there is no list yet.

        Raises:
            FileNotFoundError: If there is no list, and no ``make``.
        """
        if make is not None:
            return InputList.create(self.input_file, make)
        if not self.input_file.is_file():
            raise FileNotFoundError(f"Expected the directory of a run, but there is no {self.input_file.name} in {self.path}.")
        return InputList(self.input_file)

    def latents_file(self, first: int) -> str:
        """Name the file of latents of the chunk whose first input is ``first``, relative to the directory."""
        return f"latents/{first:08d}.safetensors"

    def append(self, share: Share, rows: Iterable[Row]) -> None:
        """Add finished rows to a share's table."""
        path = self.table(share)
        path.parent.mkdir(parents=True, exist_ok=True)
        append_rows(path, rows)

    def valid_cells(self, table: Path) -> Iterator[list[str]]:
        """Give the rows of a table whose latents are there, as text."""
        if not table.exists():
            return
        holds = lru_cache(maxsize=64)(names_in)
        for cells in read_cells(table):
            if not cells[LATENTS] or cells[NAME] in holds(self.path / cells[LATENTS]):
                yield cells

    def done(self, total: int) -> bytearray:
        """Tell which inputs have a row, and latents if the row says so: 1 or 0 for each of ``total`` inputs.

        Raises:
            ValueError: If a row is of another list of inputs, or a table is broken elsewhere than at its end.
        """
        done = bytearray(total)
        for number, _ in self.numbered(total):
            done[number] = 1
        return done

    def numbered(self, total: int) -> Iterator[tuple[int, list[str]]]:
        """Give the valid rows of all processes as text, with their numbers in the list of ``total`` inputs.

        Raises:
            ValueError: If a row is of another list, or a table is broken elsewhere than at its end.
        """
        for cells in self.cells():
            number = int(cells[NUMBER]) if cells[NUMBER].isdecimal() else total
            if number >= total:
                raise ValueError(
                    f"Expected rows of the {total} inputs that {self.input_file} lists, but {cells[NAME]!r} has the number "
                    f"{cells[NUMBER]!r}; choose another --out, or --fresh true to delete that run."
                )
            yield number, cells

    def repair(self, share: Share) -> None:
        """Drop from a share's table what an interruption left torn, and rows whose latents were lost since."""
        table = self.table(share)
        if table.exists():
            write_table(table, Row._fields, (format_cells(cells) for cells in self.valid_cells(table)))

    def cells(self) -> Iterator[list[str]]:
        """Give the valid rows of all processes as text, table by table."""
        return (cells for table in self.tables for cells in self.valid_cells(table))

    def rows(self) -> Iterator[Row]:
        """Give the valid rows of all processes, table by table."""
        return map(parse_row, self.cells())

    def latent(self, row: Row) -> Tensor:
        """Read the raw latent ``(C, h, w)`` of a row.

        Raises:
            KeyError: If the row has none.
        """
        if not row.latents:
            raise KeyError(f"Expected a row with a latent, but {row.name!r} has none: {row.reason or row.status.sentence}")
        return read_latent(self.path / row.latents, row.name)

    def noise(self, row: Row) -> Tensor:
        """Read the noise ``(C, h, w)`` of a row of a run that inverted a sampler.

        Raises:
            FileNotFoundError: If the run inverted none.
            KeyError: If the row has none.
        """
        if not row.latents:
            raise KeyError(f"Expected a row with noise, but {row.name!r} has none: {row.reason or row.status.sentence}")
        return read_latent(self.path / noise_file(row.latents), row.name)

    def known_noise(self, row: Row) -> Tensor | None:
        """Read the noise of a row; ``None`` where it has none, since what is not finite is not written.

        Raises:
            FileNotFoundError: If the run inverted no sampler.
        """
        try:
            return self.noise(row)
        except KeyError:
            return None
