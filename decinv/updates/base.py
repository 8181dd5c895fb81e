"""The update rule: how one step goes, as a torch optimizer that finds the residual in ``.grad``.

Every rule works on one parameter whose first dimension is the active samples, and treats each row on its own.

| argument | symbol | meaning |
|---|---|---|
| ``lr`` | rho, or 2 lambda beta, or the mixing | multiplies the residual |
| ``momentum`` | alpha | inertia: the weight of the last move |
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from decinv.problems.base import Evaluation

UpdateFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
"""What makes an update rule from the parameters to update; on the command line a ``class_path`` of an optimizer."""


class UpdateRule(Optimizer, ABC):
    """An optimizer of one parameter of rows that can be reset, and reduced to some of its rows.

    ``state_dict`` is torch's, with a key more for each thing that a rule keeps in an attribute, the tensors themselves and no
    copies; ``load_state_dict`` is called after ``reset``, takes tensors over from any device, and changes nothing if it raises.

    Attributes:
        freedom: Directions of the latent space that a step fits anew, so that each must prove that it fits more than noise; 0
            where steps follow the residual alone.
        magnifies: Whether it asks for residuals of magnified pixel errors where the codec's arithmetic is coarse.
        misled: Which samples' residuals proved to lead away from the solution in the last step, ``(A,)``; ``None`` for none.
        probing: Which samples' next points are to show something, and need be no progress, ``(A,)``; ``None`` for none.
    """

    freedom: float = 0.0
    magnifies: bool = False
    misled: NDArray[np.bool_] | None = None
    probing: NDArray[np.bool_] | None = None

    def __init__(self, params: Iterable[nn.Parameter], defaults: dict[str, Any]) -> None:
        """Take the one parameter.

        Args:
            params: The parameter, in an iterable as torch's optimizers take it.
            defaults: Hyper-parameters, which become those of the parameter group.

        Raises:
            ValueError: If there is more than one parameter.
        """
        super().__init__(params, defaults)
        count = sum(len(group["params"]) for group in self.param_groups)
        if count != 1:
            raise ValueError(f"Expected one parameter that holds the latents, but got {count}.")

    @property
    def name(self) -> str:
        """What kind of rule it is; the state of one kind is of no use to another."""
        return type(self).__name__

    @property
    def wrapped(self) -> Optimizer:
        """The optimizer that takes the steps at the rate of its groups: the rule itself, where it wraps no other."""
        return self

    @property
    def point(self) -> nn.Parameter:
        """The parameter: the points that are evaluated next."""
        parameter: nn.Parameter = self.param_groups[0]["params"][0]
        return parameter

    @property
    def residual(self) -> Tensor:
        """The residual at the points."""
        gradient = self.point.grad
        if gradient is None:
            raise RuntimeError("Expected the residual in `.grad` before a step, but it is None.")
        return gradient

    @abstractmethod
    def reset(self, max_iters: int) -> None:
        """Forget everything before a new chunk of at most ``max_iters`` updates."""

    @abstractmethod
    def select(self, keep: Tensor) -> None:
        """Drop the state of the rows that are not in ``keep`` (indices); the parameter still has all its rows."""

    @abstractmethod
    def update(self) -> None:
        """Move the points once."""

    def observe(self, evaluation: Evaluation) -> None:
        """Look at the whole evaluation before the step; most rules need the residual only."""

    def proof(self, first: Evaluation) -> Tensor:
        """Give the parts of its first residual and pixel error below which a sample's point is preferred to its start.

        The solver asks at the first evaluation. Small steps need no proof, so most rules give infinity.

        Returns:
            Parts ``(2, B)``: of the residual, and of the pixel error.
        """
        return torch.full_like(first.merit, torch.inf).expand(2, -1)

    def begin_anew(self) -> None:
        """Go back to the best points of the samples that were misled: from now on their residuals are taken in another way."""

    def solution(self) -> Tensor:
        """Give the iterate after the last step, which need not be the point to evaluate next."""
        return self.point.detach()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the points once, in full precision even under autocast; a ``closure``, as a trainer passes it, is run first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        device = self.point.device.type
        if torch.is_autocast_enabled(device):  # leaving autocast costs as much as a small update
            with torch.autocast(device, enabled=False):
                self.update()
        else:
            self.update()
        return loss


def refuse_forgetful(rule: UpdateRule, state: dict[str, Any]) -> None:
    """Refuse a rule that a restart would go on from without what it remembers.

    Args:
        rule: The rule.
        state: Its ``state_dict``.

    Raises:
        ValueError: If an attribute is a tensor, and none of the state's.
    """
    kept = {id(value) for value in state.values()}
    lost = [name for name, value in vars(rule).items() if isinstance(value, Tensor) and id(value) not in kept]
    if lost:
        raise ValueError(
            f"Expected `state_dict` of {type(rule).__name__} to hold its tensors, but it lacks {', '.join(lost)}; add them to "
            "it and to `load_state_dict`, or set them to None after each step if the next one needs none."
        )
