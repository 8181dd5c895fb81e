"""The inversion as a LightningModule: one epoch is one chunk of samples, one training step one update."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from decinv.batch import Batch, Failure
from decinv.codecs.base import Codec
from decinv.host_memory import HOST_MEMORY
from decinv.memory import in_halves, is_out_of_memory, release
from decinv.placement import HOST, Placement
from decinv.problems.base import Problem
from decinv.result import Result
from decinv.solver import Solver
from decinv.status import Status
from decinv.stopping import Stopping
from decinv.strategies import IndependentStrategy
from decinv.updates.stock import as_rule

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Trainer precisions under which the latent and the solver's state are float32."""


class Inversion(LightningModule, ABC):
    """Find, for each image of a chunk, the latent from which the codec decodes it.

    The latent is a parameter whose rows are the samples that still run. Each training step evaluates the problem, stops the
    samples that are done, and lets the update rule move the rest. Subclasses say what is solved, in ``problem``.

    Callbacks find the running state in ``solver``, and from ``on_train_epoch_end`` on the chunk's outcome in ``result`` and
    ``reconstruction``.

    A chunk that does not fit into memory is given up without an outcome, and comes back in halves; a sample that does not
    fit alone has the status FAILED, as one that the codec refuses has, if it codes others. Where the codec's memory
    budget suffices for no more than coding, images and the solver's state stay on the host; see
    ``decinv.placement.Placement``.

    Attributes:
        split_chunk: What brings the running chunk back in halves; the data source sets it. Where it is ``None``, running out
            of memory ends the run.
        starts_at_encoder: Whether the first point of a chunk is E(x).
        may_be_on_host: Whether a chunk can be solved on the host while the codec is on another device.
        resume: Called once, between the start of the solver on the next chunk and its first step, to put the solver further
            on; who continues a chunk in its middle sets it.
    """

    starts_at_encoder: bool = True
    may_be_on_host: bool = True

    def __init__(self, codec: Codec, update: OptimizerCallable, stopping: Stopping) -> None:
        """Combine codec, update rule and stopping.

        Raises:
            ValueError: If the codec lacks attributes.
        """
        super().__init__()
        codec.check()
        self.automatic_optimization = False
        self.strict_loading = False
        self.codec = codec
        self.update = update
        self.latent = nn.Parameter(torch.empty(0))
        self.solver = Solver(self.latent, as_rule(update([self.latent])), stopping)
        self.batch: Batch | None = None
        self.split_chunk: Callable[[], None] | None = None
        self.resume: Callable[[], None] | None = None
        self._placement = Placement(codec, update, stopping)
        self._handed: Batch | None = None
        self._moved: Batch | None = None
        self._has_split = False
        self._has_coded = False
        self._reconstruction: Tensor | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Take the name of the running hook, which the trainer notes a dozen times a step, without looking for parameters."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def problem(self, image: Tensor) -> Problem:
        """State the problem for images ``(B, 3, H, W)`` in [-1, 1]."""

    @property
    def finished(self) -> bool:
        """Whether there is a chunk, and each of its samples is done; not where the trainer ends a chunk before its time."""
        return self.batch is not None and self.solver.done

    @property
    def truth(self) -> Tensor | None:
        """The scaled true latents of the chunk, which its points are compared with, where these are known."""
        latent = None if self.batch is None else self.batch.latent
        return None if latent is None else self.codec.scaling.apply(latent)

    @property
    def max_iters(self) -> int:
        """Training steps that a chunk takes at most; the length of an epoch."""
        return self.solver.stopping.longest

    def setup(self, stage: str) -> None:
        """Refuse processes that wait for each other and precisions that would round the latent.

        The gradient scaler is switched off, for there is no backward pass.

        Raises:
            ValueError: If the trainer's precision is not one of ``PRECISIONS``, or its strategy makes processes communicate.
        """
        refuse_communication(self.trainer)
        precision = self.trainer.precision
        if precision not in PRECISIONS:
            raise ValueError(
                f"Expected `trainer.precision` to be one of {', '.join(PRECISIONS)}, but got {precision}, in which the latents "
                "and the solver's state would not be float32; set `model.codec.dtype` to compute in another number format."
            )
        if precision == "16-mixed":
            self.trainer.precision_plugin.scaler = None  # type: ignore[attr-defined]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Hand the update rule to the trainer, which counts its steps."""
        return self.solver.rule

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a chunk once, not once an iteration, to where it is solved.

        Raises:
            TypeError: If it is none.
        """
        if batch is not self._handed:
            if not isinstance(batch, Batch):
                kind = type(batch).__name__
                raise TypeError(f"Expected chunks of images, as a `decinv.data.ChunkData` gives them, but got {kind}.")
            self._handed = batch
            where = self.place(batch, device)
            HOST_MEMORY.turn_to(batch.image.shape if where == HOST else ())
            self._moved = super().transfer_batch_to_device(batch, where, dataloader_idx)
            with self.trainer.precision_plugin.train_step_context():
                self.codec.try_out(self._moved.image)
        return self._moved

    def place(self, batch: Batch, device: torch.device) -> torch.device:
        """Choose where a chunk is solved: on the trainer's ``device``, or on the host by the codec's memory budget."""
        with self.trainer.precision_plugin.train_step_context():
            return HOST if self.may_be_on_host and self._placement.on_host(batch.image) else device

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> int | None:
        """Begin a chunk at its first step, and end it when all samples are done."""
        if batch_idx == 0:
            self._reconstruction = None
            self._within_memory(lambda: self._begin_with_what_is_encoded(batch))
        return -1 if self.solver.done else None

    def _begin_with_what_is_encoded(self, batch: Batch) -> None:
        """Begin on a chunk, without those samples that the codec refuses alone."""
        try:
            self.begin(batch)
        except (RuntimeError, ValueError) as error:
            self._begin_without_refused(batch, error)

    def _begin_without_refused(self, batch: Batch, error: RuntimeError | ValueError) -> None:
        """Begin on a chunk without those samples that the codec refuses alone.

        Raises:
            Exception: ``error``, if it refuses none, or all of what it met so far, for then it may be the codec's fault.
        """
        failed = {} if is_out_of_memory(error) else self._refused(batch)
        if not failed or (len(failed) == len(batch.names) and not self._has_coded):
            raise error
        self.begin(batch.without(failed))

    def _refused(self, batch: Batch) -> dict[int, Failure]:
        """Give the samples that the codec does not encode and decode again, by index, with the reasons."""
        failed: dict[int, Failure] = {}
        with self.trainer.precision_plugin.train_step_context():
            for row, name in enumerate(batch.names):
                refusal = self.codec.refusal(batch.image[row : row + 1])
                if refusal is not None:
                    number = batch.numbers[row] if batch.numbers else None
                    failed[row] = Failure(name, f"The codec {refusal}.", number, Status.FAILED)
        return failed

    def begin(self, batch: Batch) -> None:
        """Start on a chunk, or go on in its middle."""
        self.batch = batch
        with self.trainer.precision_plugin.train_step_context(), torch.no_grad():
            self.start(batch)
            resume, self.resume = self.resume, None
            if resume is not None:
                resume()
                if not self.solver.settled:  # the state was another's
                    self.start(batch)

    def start(self, batch: Batch) -> None:
        """Start the solver on a chunk."""
        self.solver.start(self.problem(batch.image))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take one step of every sample that still runs."""
        optimizer = cast(LightningOptimizer, self.optimizers())
        self._within_memory(lambda: self._step(optimizer.step))

    def _step(self, apply: Callable[[], object]) -> None:
        """Take a step; in the first one of a chunk, without those samples that the codec refuses alone."""
        try:
            self.solver.step(apply)
        except (RuntimeError, ValueError) as error:
            if self.batch is None or self.solver.iteration:
                raise
            self._begin_without_refused(self.batch, error)
            if not self.solver.done:
                self.solver.step(apply)
        self._has_coded = True

    def _within_memory(self, work: Callable[[], None]) -> None:
        """Do a part of the chunk's work, or give the chunk up."""
        try:
            work()
            return
        except (RuntimeError, MemoryError) as error:
            batch = self.batch
            if batch is None or self.split_chunk is None or not is_out_of_memory(error):
                raise
        self.solver.clear()
        release()
        height, width = batch.image.shape[-2:]
        if len(batch.names) > 1:
            if not self._has_split:
                message = (
                    f"{len(batch.names)} images of {height} x {width} do not fit into memory together; halving the chunk, and "
                    "keeping later ones as small. Set `data.batch_size` lower to begin with that."
                )
                warnings.warn(message, stacklevel=2)
            self._has_split = True
            self.batch = None
            self.split_chunk()
            return
        remedy = (
            f"One image of {height} x {width} does not fit into memory; set the codec's `memory_mib`, `tiling` or a 16-bit "
            "`dtype`, or the rule's `history` lower."
        )
        number = batch.numbers[0] if batch.numbers else None
        failed = Failure(batch.names[0], remedy, number, Status.FAILED)
        self.batch = Batch(batch.image[:0], (), failures=(*batch.failures, failed))
        self.solver.start(self.problem(self.batch.image))

    @property
    def result(self) -> Result:
        """The outcome of the chunk."""
        return self.solver.result()

    @property
    def reconstruction(self) -> Tensor:
        """The images D(z) ``(B, 3, H, W)`` of the reported latents, clamped to [-1, 1]; decoded when first asked for."""
        if self._reconstruction is None:
            with torch.no_grad(), self.trainer.precision_plugin.train_step_context():
                self._reconstruction = in_halves(self.codec.decode, self.result.latent).clamp(-1, 1)
        return self._reconstruction

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of each sample of the chunk beside its status; empty if there is nothing."""
        return ()

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Give nothing: the codec is frozen, and results are files."""
        return {}


def refuse_communication(trainer: Trainer) -> None:
    """Refuse strategies under which processes wait for each other, for their samples end after different numbers of steps.

    Raises:
        ValueError: If there is more than one process and the strategy is no ``IndependentStrategy``.
    """
    if trainer.world_size > 1 and not isinstance(trainer.strategy, IndependentStrategy):
        raise ValueError(
            f"Expected processes that do not wait for each other, but got {type(trainer.strategy).__name__} with "
            f"{trainer.world_size}; set `--trainer.strategy independent`, or `trainer.devices` to 1."
        )
