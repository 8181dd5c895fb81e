"""The plan of a run's memory, as the terminal shows it."""

from collections import Counter
from math import prod

import torch
from lightning import LightningDataModule, LightningModule
from rich import box, get_console
from rich.console import Console
from rich.table import Table

from decinv.codecs.base import Codec
from decinv.data.indexed import IndexedData
from decinv.memory import MIB
from decinv.modules.base import Inversion
from decinv.plan import MOST_SAMPLES, Plan, plan

GIB = 2**30

MOST_LOOKS = 2000
"""Inputs whose size is looked up at most; of longer lists, every n-th one."""

WIDEST = 1000
"""Columns that the table may have; it is wider than the terminal rather than without some of its digits."""

SHORT = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""What the trainer takes these precisions for."""


def show_plan(
    model: LightningModule,
    data: LightningDataModule | None,
    precision: str | int,
    budget_gib: float | None = None,
    accelerator: bool = False,
) -> None:
    """Predict and print the memory of the largest and of the most common images of a run.

    Args:
        model: The inversion, made on the meta device.
        data: Its images.
        precision: The trainer's precision.
        budget_gib: Memory in GiB for which the largest batch is found, above 0; by default the free memory of the CUDA device.
        accelerator: Whether the run is on an accelerator, beside a host.

    Raises:
        TypeError: If the model is no inversion, or the data is no list of inputs.
        ValueError: If no size is known, or an argument is out of range.
    """
    if not isinstance(model, Inversion):
        raise TypeError(f"Expected an inversion to plan, but got {type(model).__name__}; leave --plan away.")
    if not isinstance(data, IndexedData):
        raise TypeError(f"Expected data that lists its inputs, an `IndexedData`, but got {type(data).__name__}.")
    if budget_gib is not None and not budget_gib > 0:
        raise ValueError(f"Expected --plan_budget to be above 0 GiB, but got {budget_gib:g}.")
    looked, sizes = _sizes(data, model.codec)
    if not sizes:
        raise ValueError(f"Expected images to plan for, but none of {looked} inputs has a size that can be read.")
    budget = _free() if budget_gib is None else round(budget_gib * GIB)
    largest = max(sizes, key=lambda size: prod(filter(None, size)))
    common = sizes.most_common(1)[0][0]
    precision = SHORT.get(str(precision), str(precision))
    chosen = dict.fromkeys((largest, common))
    plans = [
        plan(model, rows, columns, data.batch_size, precision, budget, frames, accelerator) for frames, rows, columns in chosen
    ]
    console = get_console()
    table = _table(plans, sizes, budget)
    needed = console.measure(table, options=console.options.update(width=WIDEST)).maximum
    Console(width=max(console.width, needed)).print(table)
    hosted = any(one.host for one in plans)
    hidden = len(sizes) > len(plans)
    console.print(_legend(looked, len(data.inputs), hidden, budget, precision, hosted), soft_wrap=True, highlight=False)


Size = tuple[int | None, int, int]
"""Frames of a clip, ``None`` for an image; height, and width."""


def _sizes(data: IndexedData, codec: Codec) -> tuple[int, Counter[Size]]:
    """Look up the sizes of the inputs, or of some spread over the list; give how many were looked at, too."""
    every = -(-len(data.inputs) // MOST_LOOKS) or 1
    chosen = [item for place, item in enumerate(data.inputs) if place % every == 0]
    found = ((data.frame_count(item), data.image_size(item, codec)) for item in chosen)
    return len(chosen), Counter((frames, *size) for frames, size in found if size is not None)


def _free() -> int | None:
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None


def _table(plans: list[Plan], sizes: Counter[Size], budget: int | None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, title="Memory in MiB", title_justify="left")
    batch = plans[0].batch_size
    for title in ("images", "number", "weights", "peak\nof 1", f"peak\nof {batch}", f"all\nof {batch}"):
        table.add_column(title, justify="right", no_wrap=True)
    hosted = any(one.host for one in plans)
    if hosted:
        table.add_column("on the\nhost", justify="right", no_wrap=True)
    if budget is not None:
        table.add_column(f"batch in\n{budget / GIB:.3g} GiB", justify="right", no_wrap=True)
    for one in plans:
        cells = [f"{amount / MIB:,.1f}" for amount in (one.weights, one.single, one.peak, one.total)]
        size = (one.frames, one.height, one.width)
        last = [f"{one.host / MIB:,.1f}"] if hosted else []
        last += [] if one.largest is None else [f"{one.largest}{' or more' if one.largest == MOST_SAMPLES else ''}"]
        table.add_row(" x ".join(str(length) for length in size if length is not None), f"{sizes[size]:,}", *cells, *last)
    return table


def _legend(looked: int, count: int, hidden: bool, budget: int | None, precision: str, hosted: bool) -> str:
    """Say what the figures are, and what they are not."""
    lines = [
        "Peak is `peak_mib` of results.csv: activations of the codec, latents, solver state and history. All is with weights "
        "and images. Not counted are workspaces of kernels, the CUDA context, what an allocator keeps, and what callbacks do."
    ]
    if looked < count:
        lines.append(f"Sizes are those of {looked:,} of {count:,} inputs.")
    if hidden:
        lines.append("Of all sizes the largest and the most common one are shown.")
    if hosted:
        lines.append(
            "The codec's `memory_mib` does not suffice for latents, solver state and history beside the coding of one: these "
            "are on the host, with the images."
        )
    if budget is None:
        lines.append("For the largest batch give the memory in GiB, as in --plan_budget 24.")
    if precision != "32-true":
        lines.append("Mixed precision is planned by the CPU's rules; on CUDA normalisations stay in float32 and take more.")
    return "\n".join(lines)
