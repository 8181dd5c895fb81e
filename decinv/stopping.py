"""When the inversion of a sample ends."""

from dataclasses import dataclass

from decinv.ranges import refuse_below


@dataclass(frozen=True)
class Stopping:
    """When a sample is done.

    Attributes:
        max_iters: Largest number of iterations, at least 1; one iteration is one evaluation.
        rtol: Relative residual below which a sample has converged, at least 0.
        patience: Iterations without progress after which a sample has stalled, at least 1; ``None`` for never.
        last_iterate: Whether to report the iterate after the last update, at the price of one more evaluation, instead of
            the best one evaluated, for samples that spend all iterations. Published codes do that.
        gradient_steps: Iterations along gradients, at least 0, that samples get in addition which would end at their start;
            see ``decinv.problems.DescentProblem``.
        restarts: How often samples that stalled at a relative residual below 0.03 begin anew somewhere else, at least 0, with
            as many iterations each time, where the problem knows other starts; see ``decinv.problems.TrajectoryProblem``.
        beyond: Whether a sample that converged takes the update that follows, too, and reports the point after it, at the price
            of one more evaluation. Some published codes look at the residual after they have updated.
    """

    max_iters: int = 50
    rtol: float = 1e-5
    patience: int | None = 15
    last_iterate: bool = False
    gradient_steps: int = 0
    restarts: int = 0
    beyond: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: If an attribute is out of range.
        """
        refuse_below(1, max_iters=self.max_iters)
        refuse_below(0, rtol=self.rtol)
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"Expected `patience` to be at least 1 or null, but got {self.patience}.")
        refuse_below(0, gradient_steps=self.gradient_steps, restarts=self.restarts)
        if self.restarts and (self.gradient_steps or self.last_iterate):
            raise ValueError(
                f"Expected `restarts` 0 beside `gradient_steps` and `last_iterate`, but got {self.restarts}; leave either away."
            )
        if self.gradient_steps and self.last_iterate:
            raise ValueError(
                "Expected `gradient_steps` 0 where the last iterate is reported, for then no sample ends at its start, but got "
                f"{self.gradient_steps}; leave `last_iterate` away."
            )

    @property
    def longest(self) -> int:
        """Largest number of iterations of a chunk."""
        return self.max_iters * (1 + self.restarts) + self.gradient_steps
