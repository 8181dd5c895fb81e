"""The progress of a run, in the terminal or as lines of a log."""

import time

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich import get_console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from decinv.callbacks.run import as_inversion, data_of
from decinv.data.base import ChunkData
from decinv.data.indexed import IndexedData
from decinv.modules.base import Inversion
from decinv.ranges import refuse_below

SHORTEST_BAR = 8
"""Columns that the bar has in the narrowest terminal."""


class InversionProgress(ProgressBar):
    """Show images done of all and their rate, and of the running chunk its number, iteration, active samples and residual.

    Images are called frames, or clips, where the data says so. A terminal gets a bar. Anything else gets a line after a chunk,
    at most one in ``seconds_between_lines``. Of several processes the first one shows its own images, and says so; the others
    show nothing.
    """

    def __init__(self, refreshes_per_second: float = 4.0, seconds_between_lines: float = 10.0) -> None:
        """Set how often something is shown.

        Args:
            refreshes_per_second: How often the bar is drawn at most, above 0 and up to 10; drawing takes a few ms.
            seconds_between_lines: Shortest time between two lines where there is no terminal, at least 0.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__()
        if not 0 < refreshes_per_second <= 10:
            raise ValueError(f"Expected `refreshes_per_second` in (0, 10], but got {refreshes_per_second}.")
        refuse_below(0, seconds_between_lines=seconds_between_lines)
        self.refreshes_per_second = refreshes_per_second
        self.seconds_between_lines = seconds_between_lines
        self._enabled = True
        self._bar: Progress | None = None
        self._total: int | None = None
        self._prefix = ""
        self._samples = "images"
        self._finished = self._before = 0
        self._chunk = 0
        self._began = 0.0
        self._last = 0.0

    def disable(self) -> None:
        """Show nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Show the progress again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        as_inversion(pl_module, self)
        data = data_of(trainer)
        self._total, self._samples = (data.total, f"{data.sample}s") if isinstance(data, ChunkData) else (None, "images")
        self._finished = self._before = data.finished if isinstance(data, IndexedData) else 0
        self._chunk = 0
        self._began = time.perf_counter()
        self._last = -float("inf")
        console = get_console()
        self._prefix = f"process 0 of {trainer.world_size}: " if trainer.world_size > 1 else ""
        if self._enabled and console.is_terminal:
            columns = (
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=None, table_column=Column(min_width=SHORTEST_BAR, max_width=30, ratio=1)),
                TextColumn("{task.fields[state]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            )
            self._bar = Progress(*columns, console=console, auto_refresh=False, expand=True)
            self._task = self._bar.add_task(self._done(), total=self._total, state="")
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Draw the bar, unless it has just been drawn."""
        if self._bar is not None and time.perf_counter() - self._last >= 1 / self.refreshes_per_second:
            self._draw(as_inversion(pl_module, self))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the chunk's samples, and print a line where there is no bar."""
        module = as_inversion(pl_module, self)
        batch = module.batch
        if batch is None or not module.finished or not self._enabled:
            return
        self._chunk += 1
        self._finished += len(batch.names) + len(batch.failures)
        if self._bar is None and time.perf_counter() - self._last >= self.seconds_between_lines:
            self._last = time.perf_counter()
            line = f"{self._done()}, chunk {self._chunk}, {self._rate()}"
            get_console().print(line, highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the finished bar behind."""
        if self._bar is not None:
            state = f"{self._rate()}  {self._chunk} chunk{'s' if self._chunk != 1 else ''}"
            self._bar.update(self._task, completed=self._finished, description=self._done(), state=state, refresh=True)
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the terminal back."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, module: Inversion) -> None:
        solver, batch, bar = module.solver, module.batch, self._bar
        if bar is None or batch is None or solver.last is None:
            return
        self._last = time.perf_counter()
        samples = len(batch.names)
        done = samples - solver.active
        residual = float(solver.last.merit.median())
        description = self._done(done)
        parts = (
            self._rate(done),
            f"chunk {self._chunk + 1}",
            f"iteration {solver.iteration}/{module.max_iters}",
            f"residual {residual:.1e}",
            f"active {solver.active}/{samples}",
        )
        state = _fitting(parts, bar.console.width - len(description) - SHORTEST_BAR - 2)
        bar.update(self._task, completed=self._finished + done, description=description, state=state, refresh=True)

    def _done(self, more: int = 0) -> str:
        of = "" if self._total is None else f"/{self._total}"
        return f"{self._prefix}{self._finished + more}{of} {self._samples}"

    def _rate(self, more: int = 0) -> str:
        rate = (self._finished - self._before + more) / max(time.perf_counter() - self._began, 1e-9)
        return f"{rate:.3g} {self._samples}/s"


def _fitting(parts: tuple[str, ...], width: int) -> str:
    """Join as many of the first ``parts`` as ``width`` columns can show."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + 2 + len(part) > width:
            break
        text += f"  {part}"
    return text
