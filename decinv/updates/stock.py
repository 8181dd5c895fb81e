"""Torch's own optimizers as update rules: its SGD is the forward step, its Adam the paper's practical method."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from decinv.updates.base import UpdateRule


class StockRule(UpdateRule):
    """Drive an optimizer of torch, whose state is kept row by row."""

    def __init__(self, inner: Optimizer) -> None:
        """Wrap an optimizer.

        Args:
            inner: An optimizer of one parameter that treats its elements, or its rows, independently.

        Raises:
            ValueError: If the optimizer mixes samples, takes sparse gradients only, or has more than one parameter.
        """
        kind = type(inner).__name__
        if isinstance(inner, torch.optim.LBFGS | torch.optim.Adafactor):
            raise ValueError(
                f"Expected an optimizer that treats each sample on its own, but got {kind}, which mixes them; use Anderson."
            )
        if isinstance(inner, torch.optim.SparseAdam):
            raise ValueError(f"Expected an optimizer of dense gradients, but got {kind}; use torch.optim.Adam.")
        if inner.state and not isinstance(inner, torch.optim.Adagrad):
            raise ValueError(f"Expected an optimizer without state before its first step, but {kind} has some.")
        super().__init__([p for group in inner.param_groups for p in group["params"]], dict(inner.defaults))
        self.inner = inner
        self._share()

    def _share(self) -> None:
        """Have the groups and the state of the optimizer, not copies."""
        self.param_groups = self.inner.param_groups
        self.state = self.inner.state

    @property
    def name(self) -> str:
        """The optimizer's class."""
        return type(self.inner).__name__

    @property
    def wrapped(self) -> Optimizer:
        """The optimizer of torch."""
        return self.inner

    def reset(self, max_iters: int) -> None:
        """Bring the optimizer's state back to what it was before the first step."""
        self.inner.state.clear()
        if isinstance(self.inner, torch.optim.Adagrad):  # makes its state once, when it is constructed, in older torch
            start = self.inner.defaults["initial_accumulator_value"]
            self.inner.state[self.point] = {"step": torch.tensor(0.0), "sum": torch.full_like(self.point, start)}

    def select(self, keep: Tensor) -> None:
        """Keep some rows of every state tensor that has rows.

        Raises:
            ValueError: If the state is neither per row nor a scalar, so that samples would mix.
        """
        rows = len(self.point)
        for state in self.inner.state.values():
            for name, value in state.items():
                if not isinstance(value, Tensor) or value.ndim == 0:
                    continue
                if len(value) != rows:
                    kind = type(self.inner).__name__
                    raise ValueError(
                        f"Expected state with one row a sample, but {kind}'s {name!r} has shape {tuple(value.shape)}."
                    )
                state[name] = value[keep]

    def update(self) -> None:
        """Let the optimizer step."""
        self.inner.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the optimizer take its state, which gives it new groups."""
        self.inner.load_state_dict(state_dict)
        self._share()


def as_rule(optimizer: Optimizer) -> UpdateRule:
    """Give ``optimizer`` itself if it is an update rule already, else wrap it."""
    return optimizer if isinstance(optimizer, UpdateRule) else StockRule(optimizer)
