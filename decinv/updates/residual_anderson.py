"""Anderson acceleration for problems without an image."""

from collections.abc import Iterable

from torch import Tensor, nn

from decinv.problems.base import Evaluation
from decinv.updates.anderson import Anderson
from decinv.updates.base import UpdateRule


class ResidualAnderson(Anderson):
    """Textbook Anderson acceleration: coefficients from the residual alone, no prior, and no start that is hard to beat."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1.0, history: int = 20, ridge: float = 1e-8) -> None:
        """Set step size and memory.

        Args:
            params: The one parameter that holds the points.
            lr: Largest step size of a mixed forward step, above 0.
            history: Number of iterates to mix, at least 1; 1 is the forward step.
            ridge: Regularisation, above 0: changes of the residual whose square is below this part of its own count as noise.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(params, lr=lr, history=history, pull=0.0, pixel_weight=0.0, ridge=ridge)

    def proof(self, first: Evaluation) -> Tensor:
        """Ask for none: a smaller residual is a better point."""
        return UpdateRule.proof(self, first)
