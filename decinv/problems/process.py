"""What problems about a forward process have in common."""

from torch import Tensor

from decinv.diffusion.process import Process
from decinv.problems.base import Problem


class ProcessProblem(Problem):
    """A problem whose evaluations are predictions of a forward process, which counts them."""

    process: Process

    def state_dict(self) -> dict[str, Tensor]:
        """Give the number of predictions so far."""
        return {"spent": self.process.spent.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Count on from there."""
        self.process.spent.copy_(state["spent"])
