"""Networks that are given: their weights are constants, and nothing in them is drawn at random."""

from contextlib import AbstractContextManager, nullcontext
from typing import Self

from torch import nn


class Frozen(nn.Module):
    """A network that is only ever evaluated, and differentiated with respect to what goes in."""

    def arithmetic(self) -> AbstractContextManager[None]:
        """Compute as exactly as the network is to, within a ``with`` block: around backward passes, which are not its own."""
        return nullcontext()

    def freeze(self) -> Self:
        """Make the weights constants, and dropout and batch normalisation deterministic; constructors end with it."""
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever a trainer asks for: dropout would make the maps random."""
        del mode
        return super().train(False)
