"""Which of the processes that a command runs in this one is, before there is a trainer to ask."""

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment


def cluster_environment() -> ClusterEnvironment:
    """Find out who started this process, as the trainer will."""
    for kind in (TorchElasticEnvironment, SLURMEnvironment):
        if kind.detect():
            return kind()
    return LightningEnvironment()


def follows(environment: ClusterEnvironment) -> bool:
    """Whether another process is the first one of the run."""
    return environment.global_rank() > 0 or environment.local_rank() > 0 or environment.node_rank() > 0
