"""The learning rate of trainings."""

from dataclasses import dataclass

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from decinv.ranges import refuse_below


@dataclass(frozen=True)
class Trapezoid:
    """A rate that rises linearly, stays, and falls linearly to 0.

    Attributes:
        warmup_steps: Steps of the rise, at least 1.
        decay_fraction: Part of all steps over which the rate falls, in (0, 1].

    Raises:
        ValueError: If ``decay_fraction`` lies outside (0, 1] or ``warmup_steps`` is below 1.
    """

    warmup_steps: int
    decay_fraction: float

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        if not 0 < self.decay_fraction <= 1:
            raise ValueError(f"Expected `decay_fraction` in (0, 1], but got {self.decay_fraction}.")
        refuse_below(1, warmup_steps=self.warmup_steps)

    def factor(self, step: int, steps: int) -> float:
        """Give the part of the largest rate that a step of a training of ``steps`` steps takes, in [0, 1]."""
        return min(1.0, (step + 1) / self.warmup_steps, (steps - step) / (self.decay_fraction * steps))

    def drive(self, optimizer: Optimizer, steps: int) -> OptimizerLRScheduler:
        """Give what ``configure_optimizers`` is to return: the rate of ``optimizer``, its largest one, updated every step."""
        rate = LambdaLR(optimizer, lambda step: self.factor(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}
