"""How the residuals fall over the iterations."""

from typing import NamedTuple

import torch
from lightning import LightningModule, Trainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from decinv.callbacks.base import Chunk, ChunkCallback
from decinv.callbacks.curve_tally import Curve, CurveTally
from decinv.callbacks.curves import Curves
from decinv.callbacks.run import as_inversion, draws, last_steps, log_image, log_scalars, run_directory
from decinv.callbacks.thinning import is_logged
from decinv.metrics.pixel import PEAK
from decinv.modules.base import Inversion
from decinv.problems.base import norms

POINTS = 32
"""Iterations of a chunk that are logged at most; a logger takes some ten microseconds for each value."""


class _Seen(NamedTuple):
    """What an iteration, counted from 0, saw of its active samples ``rows``: ``(A,)`` each."""

    iteration: int
    rows: Tensor
    mismatch: Tensor
    distance: Tensor | None
    better: Tensor


class Convergence(ChunkCallback):
    """Log curves over the iterations after each chunk, and over all samples at the end, with a figure.

    Logged are the relative residual (median, quartiles, worst), the number of active samples, the mean PSNR of D(z), and the
    NMSE (mean, worst) where the true latents are known; see ``decinv.callbacks.curves.Curves`` for what the values are.

    - ``chunks/...``: each chunk's residual (median, worst), active samples and mean NMSE, one chunk after the other: the step
      is the number of iterations of all chunks so far. Of a long chunk 32 iterations are logged, the last one among them; of
      the first 1,000 chunks all, then ever fewer, see ``decinv.callbacks.thinning.is_logged``.
    - ``run/...``: all samples of the run, written at its end; the step is the iteration. The residual's median and quartiles
      are those of 4,096 samples, drawn uniformly, where there are more; see ``decinv.callbacks.curve_tally.CurveTally``.
    - ``convergence.png`` in the run directory, and the same as the image ``convergence`` of loggers that take images. Of
      several processes the first one draws what it has seen.

    Of a run that was continued, ``run/...`` and the figure are of the samples of its last start.
    Where a sampler is inverted, residuals are those of the step that is, and the PSNR stays that of the latent which was found
    before. Of a chunk that was resumed in its middle, the PSNR and the NMSE of the iterations before are not known, and the
    residuals of these are the smallest ones so far.
    """

    def __init__(self, figure: bool = True) -> None:
        """Choose what is written.

        Args:
            figure: Whether to draw ``convergence.png`` at the end of the run.
        """
        self.figure = figure
        self._begin()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count, after what earlier starts of the run have logged."""
        self._begin()
        self._offset = last_steps(trainer).get("chunks/active_samples", 0)

    def _begin(self) -> None:
        self._truth: Tensor | None = None
        self._seen: list[_Seen] = []
        self._tally = CurveTally()
        self._stages = False
        self._offset = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Note what the last iteration saw."""
        module = as_inversion(pl_module, self)
        step = module.solver.last
        if step is None or module.batch is None:
            return
        if batch_idx == 0 or not self._seen:  # a chunk may begin in its middle, and the one before may have been abandoned
            self._seen = []
            self._truth = module.truth
        distance = None
        if self._truth is not None:
            truth = self._truth if len(step.rows) == len(self._truth) else self._truth[step.rows]
            distance = norms(step.point - truth)
        self._seen.append(_Seen(module.solver.iteration - 1, step.rows, step.mismatch, distance, step.better))

    def on_chunk_end(self, trainer: Trainer, pl_module: Inversion, chunk: Chunk) -> None:
        """Add the chunk's curves to those of the run, and log them."""
        seen, self._seen = self._seen, []
        truth, self._truth = self._truth, None
        residual = chunk.result.history
        if not residual.numel():
            return
        psnr = 10 * torch.log10(PEAK**2 / _table(residual, seen, [step.mismatch for step in seen]))
        nmse = None
        if truth is not None:
            distances = _table(residual, seen, [step.distance for step in seen if step.distance is not None])
            nmse = 20 * torch.log10(distances / norms(truth).to(distances))
        problems = chunk.result.problems
        better = _table(residual, seen, [step.better for step in seen])
        pixels = None
        if problems:  # at most the first one is about images
            pixels = problems[0] if pl_module.starts_at_encoder else 0
        curves = Curves.of(residual, chunk.result.iterations, nmse, psnr, better, problems, pixels)
        self._tally.add(curves)
        self._stages |= bool(problems)
        if trainer.loggers and is_logged(trainer.current_epoch):
            tally = CurveTally()
            tally.add(curves)
            summary = tally.summary()
            names = ("residual/median", "residual/worst", "active_samples", "nmse_db/mean")
            _log(trainer, "chunks", {name: summary[name] for name in names if name in summary}, self._offset, POINTS)
        self._offset += len(residual)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the run's curves and draw them."""
        if not self._tally.count or not draws(trainer):
            return
        summary = self._tally.summary()
        _log(trainer, "run", summary)
        if self.figure:
            path = run_directory(trainer) / "convergence.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(summary, self._tally.count, self._stages).savefig(path)
            with Image.open(path) as image:
                log_image(trainer, "convergence", image, 0)


def draw(summary: dict[str, Curve], count: int, stages: bool = False) -> Figure:
    """Draw the summary of ``count`` samples' curves; say so where they are of ``stages``, such as a sampler's steps."""
    known = "nmse_db/mean" in summary
    heights = (3, 2, 1) if known else (3, 1)
    figure = Figure(figsize=(7, 2 + 1.1 * sum(heights)), dpi=120, layout="constrained")
    axes = figure.subplots(len(heights), sharex=True, height_ratios=heights)
    steps = range(1, len(summary["active_samples"]) + 1)
    marker = "o" if len(steps) == 1 else None

    top = axes[0]
    top.fill_between(
        steps,
        summary["residual/lower_quartile"],
        summary["residual/upper_quartile"],
        color="C0",
        alpha=0.25,
        linewidth=0,
        label="quartiles",
    )
    top.plot(steps, summary["residual/median"], color="C0", marker=marker, label="median")
    top.plot(steps, summary["residual/worst"], color="C3", marker=marker, linestyle="--", label="worst")
    if (summary["residual/worst"] > 0).any():  # not where all started at a solution
        top.set_yscale("log")
    top.set_ylabel("relative residual, best so far")
    title = f"Convergence of {count} sample{'s' if count != 1 else ''}"
    top.set_title(f"{title}: one problem after another" if stages else title)
    top.legend()
    if known:
        axes[1].plot(steps, summary["nmse_db/mean"], color="C2", marker=marker, label="mean")
        axes[1].plot(steps, summary["nmse_db/worst"], color="C3", marker=marker, linestyle="--", label="worst")
        axes[1].set_ylabel("latent NMSE [dB]")
        axes[1].legend()
    bottom = axes[-1]
    edges = [step - 0.5 for step in (*steps, len(steps) + 1)]
    bottom.stairs(summary["active_samples"], edges, fill=True, color="C7", alpha=0.5)
    bottom.set_ylim(0, 1.1 * count)
    bottom.set_ylabel("active")
    bottom.set_xlabel("iteration")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    bottom.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    for axis in axes:
        axis.grid(alpha=0.3)
    return figure


def _table(like: Tensor, seen: list[_Seen], values: list[Tensor]) -> Tensor:
    """Arrange the iterations' values in a table ``(K, N)`` on the CPU, nan where there is none."""
    table = torch.full_like(like, torch.nan)
    if not values:
        return table
    sizes = torch.tensor([len(step.rows) for step in seen])
    steps = torch.tensor([step.iteration for step in seen]).repeat_interleave(sizes)
    rows = torch.cat([step.rows for step in seen]).cpu()
    return table.index_put((steps, rows), torch.cat(values).to(table))


def _log(trainer: Trainer, prefix: str, summary: dict[str, Curve], offset: int = 0, points: int | None = None) -> None:
    """Log the curves, at no more than ``points`` iterations, which end with the last one."""
    length = len(summary["active_samples"])
    count = length if points is None else min(points, length)
    for index in ((part + 1) * length // count - 1 for part in range(count)):
        values = {f"{prefix}/{name}": float(curve[index]) for name, curve in summary.items() if curve[index] == curve[index]}
        log_scalars(trainer, values, offset + index + 1)
