"""Learning-rate schedules over the iterations of a chunk."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from decinv.problems.base import Evaluation
from decinv.updates.base import UpdateFactory, UpdateRule, refuse_forgetful
from decinv.updates.stock import as_rule


class WarmupCosine(LRScheduler):
    """Linear warm-up, then cosine decay, then hold: the schedule of arXiv 2409.18442's released code.

    With N steps, W = N * ``warmup`` and base rate lr, step i has the rate ``lr (i + 1) / W`` for ``i < W``, then
    ``lr (1 + cos(pi (i - W) / (N - W))) / 2``, which from ``i >= hold_from N`` on keeps its last value. That code's gradient
    baseline begins with ``lr i / W`` instead, whose first step stays where it is.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        steps: int | None = None,
        warmup: float = 0.1,
        hold_from: float = 1.0,
        longest: int | None = None,
        from_zero: bool = False,
    ) -> None:
        """Set the shape.

        Args:
            optimizer: The optimizer whose rate is scheduled.
            steps: Steps N of the schedule; by default as many as the chunk has (``max_iters``).
            warmup: Part of the steps that warm up, in [0, 1).
            hold_from: Part of the steps after which the rate is held, in (0, 1]; the paper's gradient-free method has 0.8.
            longest: Upper bound of N, for ``steps`` taken from the chunk, at least 1; the paper's is 100.
            from_zero: Whether the warm-up begins with a rate of 0.

        Raises:
            ValueError: If an argument is out of range.
        """
        if (steps is not None and steps < 1) or not 0 <= warmup < 1 or not 0 < hold_from <= 1:
            raise ValueError(
                "Expected `steps` at least 1, `warmup` in [0, 1) and `hold_from` in (0, 1], "
                f"but got {steps}, {warmup} and {hold_from}."
            )
        if longest is not None and longest < 1:
            raise ValueError(f"Expected `longest` to be at least 1 or null, but got {longest}.")
        self.steps, self.warmup, self.hold_from, self.longest, self.from_zero = steps, warmup, hold_from, longest, from_zero
        super().__init__(optimizer)

    def spread(self, max_iters: int) -> None:
        """Take ``max_iters`` for the number of steps where none was given, and start again."""
        if self.steps is None:
            self.steps = max_iters if self.longest is None else min(max_iters, self.longest)
            self.last_epoch = -1
            self._initial_step()

    def factor(self, step: int) -> float:
        """Give the rate of a step relative to the base rate."""
        steps = self.steps or 1
        rise = int(steps * self.warmup)
        if step < rise:
            return (step + (not self.from_zero)) / rise
        last = max(rise, math.ceil(self.hold_from * steps) - 1)
        return (1 + math.cos(math.pi * (min(step, last) - rise) / max(steps - rise, 1))) / 2

    def get_lr(self) -> list[float | Tensor]:
        """Give the rate of each parameter group."""
        return [rate * self.factor(self.last_epoch) for rate in self.base_lrs]


class Scheduled(UpdateRule):
    """An update rule under a learning-rate schedule that starts anew with every chunk."""

    def __init__(
        self, params: Iterable[nn.Parameter], rule: UpdateFactory, schedule: Callable[[Optimizer], LRScheduler]
    ) -> None:
        """Combine rule and schedule.

        Args:
            params: The one parameter that holds the latents.
            rule: The update rule, or an optimizer of torch.
            schedule: The schedule of its ``lr``, stepped once an iteration.

        Raises:
            ValueError: If the rule has no ``lr``.
        """
        self.rule = as_rule(rule(params))
        if not all("lr" in group for group in self.rule.param_groups):
            raise ValueError(f"Expected a rule with `lr` among its defaults to schedule, but {self.rule.name} has none.")
        super().__init__(self.rule.param_groups[0]["params"], dict(self.rule.defaults))
        self._share()
        self.freedom, self.magnifies = self.rule.freedom, self.rule.magnifies
        self.base_rates = [group["lr"] for group in self.param_groups]
        self.schedule = schedule
        self.scheduler: LRScheduler | None = None

    def _share(self) -> None:
        """Have the groups and the state of the rule, not copies."""
        self.param_groups = self.rule.param_groups
        self.state = self.rule.state

    @property
    def name(self) -> str:
        """The rule and that it is scheduled."""
        return f"Scheduled {self.rule.name}"

    def reset(self, max_iters: int) -> None:
        """Reset the rule and start the schedule again."""
        self.rule.reset(max_iters)
        for group, rate in zip(self.param_groups, self.base_rates, strict=True):
            group.pop("initial_lr", None)
            group["lr"] = rate
        self.scheduler = self.schedule(self.rule.wrapped)
        if isinstance(self.scheduler, WarmupCosine):
            self.scheduler.spread(max_iters)

    def select(self, keep: Tensor) -> None:
        """Keep some rows of the rule's state."""
        self.rule.select(keep)

    def observe(self, evaluation: Evaluation) -> None:
        """Pass the evaluation on."""
        self.rule.observe(evaluation)

    def proof(self, first: Evaluation) -> Tensor:
        """Ask for what the rule asks for."""
        return self.rule.proof(first)

    def update(self) -> None:
        """Step the rule, then the schedule."""
        if self.scheduler is None:
            raise RuntimeError("Expected `reset` before the first step, but it was not called.")
        self.rule.step()
        self.scheduler.step()
        self.misled, self.probing = self.rule.misled, self.rule.probing

    def begin_anew(self) -> None:
        """Let the rule begin anew."""
        self.rule.begin_anew()

    def solution(self) -> Tensor:
        """Give the rule's iterate."""
        return self.rule.solution()

    def state_dict(self) -> dict[str, Any]:
        """Add the place in the schedule to the rule's state."""
        state = self.rule.state_dict()
        refuse_forgetful(self.rule, state)
        return state | {"schedule": None if self.scheduler is None else self.scheduler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rule's state and the place in the schedule, if ``reset`` has started one."""
        schedule = state_dict["schedule"]
        self.rule.load_state_dict(state_dict)
        self._share()
        if self.scheduler is not None and schedule is not None:
            self.scheduler.load_state_dict(schedule)
