"""Processes that know their number and never communicate."""

import sys
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.strategies import ParallelStrategy, StrategyRegistry
from torch import Tensor

from decinv.errors import own_sentence
from decinv.strategies.local import LocalProcesses, end_with_the_launcher


class IndependentStrategy(ParallelStrategy):
    """One device a process; a process knows its ``global_rank`` and the ``world_size``, and nothing of what the others do.

    ``torch.distributed`` is never initialised: a barrier waits for nobody, a broadcast and a reduction give back what they are
    given, no parameter is sent, no gradient averaged, no model wrapped and no sampler put into a loader. So a process may be
    late, fail or be killed without any effect on the others. Whatever is to be shared out is shared out by rank.

    Processes are those that torchrun or SLURM has started; otherwise one for each of ``trainer.devices`` is started here, on
    each of ``trainer.num_nodes`` machines, of which the command is run with NODE_RANK = 0, 1, ...
    """

    strategy_name = "independent"

    def __init__(self) -> None:
        """Take devices, machines and ranks from the trainer and the environment."""
        super().__init__()
        self.num_nodes = 1
        self._failed = False

    @property
    def num_processes(self) -> int:
        """Processes on this machine."""
        return len(self.parallel_devices or ())

    @property
    def root_device(self) -> torch.device:
        """The device of this process."""
        assert self.parallel_devices is not None
        return self.parallel_devices[self.local_rank]

    def set_world_ranks(self) -> None:
        """Find out which process this is.

        Raises:
            ValueError: If the trainer's devices and machines are not as many as the processes that were started.
        """
        environment = self.cluster_environment
        assert environment is not None
        expected = self.num_nodes * self.num_processes
        environment.set_global_rank(self.node_rank * self.num_processes + self.local_rank)
        environment.set_world_size(expected)
        if self.world_size != expected:
            raise ValueError(
                f"Expected `trainer.devices` times `trainer.num_nodes` to be the number of processes that were started, "
                f"{self.world_size}, but got {self.num_processes} x {self.num_nodes}; set both as for srun or torchrun."
            )
        rank_zero_only.rank = self.global_rank  # type: ignore[attr-defined]

    def _configure_launcher(self) -> None:
        """Start the other processes of this machine, unless somebody else has started them.

        Raises:
            ValueError: If there is more than one to start from a notebook.
        """
        assert self.cluster_environment is not None
        end_with_the_launcher()
        if self.num_processes > 1 and not self.cluster_environment.creates_processes_externally:
            self._launcher = LocalProcesses(self.num_processes, self.node_rank)

    def setup_environment(self) -> None:
        """Share out the machine's threads, and keep the trainer from saving checkpoints when SLURM asks it to end."""
        if isinstance(self.cluster_environment, SLURMEnvironment):
            self.cluster_environment.auto_requeue = False
        if self.num_processes > 1:
            _set_num_threads_if_needed(self.num_processes)
        super().setup_environment()

    def model_to_device(self) -> None:
        """Move the model to the device of this process."""
        assert self.model is not None
        self.model.to(self.root_device)

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Wait for nobody."""

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Give ``obj`` back."""
        return obj

    def reduce(self, tensor: Any, *args: Any, **kwargs: Any) -> Any:
        """Give ``tensor`` back."""
        return tensor

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Give ``tensor`` back."""
        return tensor

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Give ``decision`` back."""
        return decision

    def on_exception(self, exception: BaseException) -> None:
        """Say it now where this process will wait for others before it ends, and say nothing of them afterwards."""
        self._failed = True
        if isinstance(self.launcher, LocalProcesses) and isinstance(exception, Exception) and own_sentence(exception) is None:
            print(f"decinv: process 0 failed with {exception!r}; it waits for the others.", file=sys.stderr)

    def teardown(self) -> None:
        """Wait for the processes that this one has started, so that the command ends when all is done."""
        super().teardown()
        if isinstance(self.launcher, LocalProcesses):
            self.launcher.wait(report=not self._failed)


StrategyRegistry.register(
    IndependentStrategy.strategy_name,
    IndependentStrategy,
    description="processes that know their number and never communicate",
    override=True,
)
