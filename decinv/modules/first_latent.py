"""How an inversion of a sampler comes by the latents from which it starts."""

from abc import ABC, abstractmethod
from collections.abc import Generator

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from decinv.batch import Batch
from decinv.codecs.base import Codec
from decinv.problems.base import Problem
from decinv.problems.decoder import DecoderProblem
from decinv.problems.gradient import GradientProblem
from decinv.result import Result
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates.anderson import Anderson
from decinv.updates.forward import ForwardStep
from decinv.updates.stock import as_rule


class FirstLatent(ABC):
    """Where latents come from: at most one problem, with a rule and a stopping of its own.

    Attributes:
        seeks: Whether the problem's status says something: not where its start is taken whatever it is.
        starts_at_encoder: Whether there is a problem, which starts at E(x).
    """

    seeks: bool = True
    starts_at_encoder: bool = True

    def __init__(self, update: OptimizerCallable, stopping: Stopping) -> None:
        """Combine rule and stopping."""
        self.update = update
        self.stopping = stopping

    @abstractmethod
    def problem(self, codec: Codec, image: Tensor) -> Problem:
        """State the problem for images ``(B, 3, H, W)`` in [-1, 1]."""

    def solver(self, point: nn.Parameter) -> Solver | None:
        """Make the solver of the problem; ``None`` where there is none to solve."""
        return Solver(point, as_rule(self.update([point])), self.stopping)

    def course(self, codec: Codec, batch: Batch) -> Generator[Problem, Result, Tensor]:
        """Go from a chunk to its raw latents ``(B, C, h, w)``."""
        result = yield self.problem(codec, batch.image)
        return result.latent

    def companion(self, codec: Codec, batch: Batch) -> Tensor | None:
        """Give the other scaled latents that a sampler of pairs has beside those, where they are known too."""
        return None


class DecodedLatent(FirstLatent):
    """Gradient-free decoder inversion; see ``DecoderInversion``."""

    def __init__(
        self,
        update: OptimizerCallable = Anderson,
        max_iters: int = 50,
        rtol: float = 1e-5,
        patience: int | None = 15,
        last_iterate: bool = False,
        gradient_steps: int = 0,
    ) -> None:
        """Set rule and stopping.

        Args:
            update: The update rule.
            max_iters: Largest number of evaluations of E(D(z)) of a sample, at least 1.
            rtol: Relative residual below which a sample has converged, at least 0.
            patience: Iterations without progress after which a sample has stalled, at least 1; null for never.
            last_iterate: Whether to take the iterate after the last update instead of the best one evaluated.
            gradient_steps: Largest number of further iterations, along gradients, of samples that would end at E(x), at least
                0; see ``DecoderInversion``.
        """
        super().__init__(update, Stopping(max_iters, rtol, patience, last_iterate, gradient_steps))

    def problem(self, codec: Codec, image: Tensor) -> Problem:
        """State ``E(D(z)) = E(x)``."""
        return DecoderProblem(codec, image)


class EncodedLatent(FirstLatent):
    """The encoder's latent E(x), and its residual; statuses are those of the sampler's inversion alone."""

    seeks = False

    def __init__(self) -> None:
        """Evaluate once."""
        super().__init__(ForwardStep, Stopping(max_iters=1, rtol=0.0, patience=None))

    def problem(self, codec: Codec, image: Tensor) -> Problem:
        """State ``E(D(z)) = E(x)``, of which only the start is evaluated."""
        return DecoderProblem(codec, image)


class GradientLatent(FirstLatent):
    """Decoder inversion by gradients; see ``GradientInversion``."""

    def __init__(
        self,
        update: OptimizerCallable = torch.optim.Adam,
        max_iters: int = 100,
        rtol: float = 0.0,
        patience: int | None = None,
        last_iterate: bool = False,
    ) -> None:
        """Set rule and stopping.

        Args:
            update: The optimizer.
            max_iters: Largest number of iterations of a sample, at least 1.
            rtol: Relative pixel error below which a sample has converged, at least 0.
            patience: Iterations without progress after which a sample has stalled, at least 1; null for never.
            last_iterate: Whether to take the iterate after the last update instead of the best one evaluated.
        """
        super().__init__(update, Stopping(max_iters, rtol, patience, last_iterate))

    def problem(self, codec: Codec, image: Tensor) -> Problem:
        """State ``min ||D(z) - x||^2``."""
        return GradientProblem(codec, image)


class KnownLatent(FirstLatent):
    """The true latents of generated images, so that the error of a sampler's inversion can be seen alone."""

    starts_at_encoder = False

    def __init__(self) -> None:
        """Solve nothing."""
        super().__init__(ForwardStep, Stopping(max_iters=1))

    def problem(self, codec: Codec, image: Tensor) -> Problem:
        """State what a sample without memory for anything else is left with."""
        return DecoderProblem(codec, image)

    def solver(self, point: nn.Parameter) -> None:
        """There is nothing to solve."""

    def course(self, codec: Codec, batch: Batch) -> Generator[Problem, Result, Tensor]:
        """Give the true latents.

        Raises:
            ValueError: If they are not known.
        """
        yield from ()
        if batch.latent is None:
            if not batch.names:
                return codec.encode(batch.image)
            raise ValueError("Expected images whose true latents are known, but got others; choose another `decoder`.")
        return batch.latent

    def companion(self, codec: Codec, batch: Batch) -> Tensor | None:
        """Give the true ones."""
        return None if batch.companion is None else codec.scaling.apply(batch.companion)
