"""Optimizers of torch, and own ones, as update rules: SGD is the forward step, Adam the paper's practical method."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from decinv.updates.base import UpdateRule

TORCHS = ("defaults", "param_groups", "state")
"""Attributes of every optimizer; what it remembers is in the last one."""


class StockRule(UpdateRule):
    """Drive an optimizer of torch, or an own one, whose state is kept row by row."""

    def __init__(self, inner: Optimizer) -> None:
        """Wrap an optimizer.

        Args:
            inner: An optimizer of one parameter that treats its elements, or its rows, independently, and remembers tensors in
                ``state[parameter]`` only: with a row for each sample, or of a single number for all.

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
        self._proven = False
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
        """Let the optimizer step.

        Raises:
            ValueError: If it then remembers tensors where no row of them can be dropped, or forgotten with the chunk.
        """
        self.inner.step()
        if self._proven:
            return
        kept = self.state.get(self.point, {})
        hidden = [name for name, value in vars(self.inner).items() if name not in TORCHS and _holds_tensors(value)]
        hidden += [name for name, value in kept.items() if not isinstance(value, Tensor) and _holds_tensors(value)]
        if hidden:
            raise ValueError(
                f"Expected {self.name} to remember tensors in `state[parameter]` alone, each under a key of its own, but got "
                f"{', '.join(hidden)}; keep them there, or make it an `UpdateRule`."
            )
        self._proven = True

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the optimizer take its state, which gives it new groups."""
        self.inner.load_state_dict(state_dict)
        self._share()


def _holds_tensors(value: object) -> bool:
    """Whether something is a tensor of several numbers, or a collection with one in it."""
    if isinstance(value, dict):
        value = list(value.values())
    return any(map(_holds_tensors, value)) if isinstance(value, list | tuple) else isinstance(value, Tensor) and value.ndim > 0


def as_rule(optimizer: Optimizer) -> UpdateRule:
    """Give ``optimizer`` itself if it is an update rule already, else wrap it.

    Raises:
        TypeError: If it is none.
        ValueError: If it cannot be wrapped; see ``StockRule``.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"Expected an optimizer as the update rule, but got {type(optimizer).__name__}.")
    return optimizer if isinstance(optimizer, UpdateRule) else StockRule(optimizer)
