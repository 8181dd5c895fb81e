"""The forward process of a chunk of samples: a sampler's steps, the guided network, and its prompts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.diffusion.denoiser import Guidance
from decinv.diffusion.prompt import Condition
from decinv.diffusion.sampler import Trajectory
from decinv.diffusion.step import Step


class Visited(NamedTuple):
    """A point of a trajectory, with what was predicted there.

    Attributes:
        point: x_s, ``(B, C, h, w)``.
        output: The network's output there.
        handed_on: What the step that begins there hands on to the next one.
        following: x_t, the point after it.
    """

    point: Tensor
    output: Tensor
    handed_on: Tensor
    following: Tensor


class Process:
    """What makes latents from noise, for ``B`` samples.

    Attributes:
        spent: Guided predictions that each sample has taken, ``(B,)``, on the CPU.
        companion: Where points go in pairs, the other scaled latent of each sample, ``(B, C, h, w)``; ``None`` where it is not
            known.
    """

    companion: Tensor | None = None

    def __init__(
        self, trajectory: Trajectory, guidance: Guidance, condition: Condition, added: Sequence[Tensor] | None = None
    ) -> None:
        """Combine the parts.

        Args:
            trajectory: The sampler's steps.
            guidance: The guided network.
            condition: Condition of each sample.
            added: Standard normal noise ``(B, C, h, w)`` that each ancestral step adds, as many tensors as there are steps.

        Raises:
            ValueError: If a step needs noise, and ``added`` is not given.
        """
        if added is None and any(step.noise for step in trajectory.steps):
            raise ValueError("Expected the noise that the steps of an ancestral sampler add, but got None.")
        self.trajectory = trajectory
        self.guidance = guidance
        self.condition = condition
        self.added = added
        self.spent = torch.zeros(len(condition.prompt.embedding), dtype=torch.long)
        self._counts = True

    @property
    def steps(self) -> tuple[Step, ...]:
        """The sampler's steps, the noisiest first.

        Raises:
            ValueError: If points go along them in pairs.
        """
        self.trajectory.refuse_pairs()
        return self.trajectory.steps

    def noise(self, index: int, rows: Tensor | None = None) -> Tensor | None:
        """Give the noise that a step adds to some samples, or to all of them; ``None`` if it adds none."""
        if self.added is None or not self.steps[index].noise:
            return None
        return self.added[index] if rows is None else self.added[index][rows]

    def before_noise(self, index: int, point: Tensor) -> Tensor:
        """Give the points ``(B, C, h, w)`` at which a step ended before it added its noise and came to ``point``."""
        noise = self.noise(index)
        return point if noise is None else point - self.steps[index].noise * noise

    def along(self, trajectory: Trajectory) -> "Process":
        """Give the process with another sampler's steps, whose evaluations count together with this one's."""
        other = Process(trajectory, self.guidance, self.condition)
        other.spent = self.spent
        return other

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave out of ``spent`` what is evaluated within the block, as what only measures is."""
        self._counts = False
        try:
            yield
        finally:
            self._counts = True

    def count(self, rows: Tensor, times: int) -> None:
        """Book predictions of the samples ``rows`` (indices)."""
        if self._counts:
            self.spent[rows.cpu()] += times

    def predict(self, step: Step, point: Tensor, rows: Tensor | None = None) -> Tensor:
        """Give the network's output at points of some samples.

        Args:
            step: The step that begins at the points.
            point: The points ``(A, C, h, w)``.
            rows: Indices ``(A,)`` of their samples; by default all.

        Returns:
            The output, shaped as the points, float32.
        """
        if rows is None:
            rows = torch.arange(len(point), device=point.device)
        self.count(rows, 1)
        return self.guidance(point / step.scale, step.time, self.condition.select(rows))

    def step_all(self, points: Tensor, rows: Tensor) -> list[Tensor]:
        """Take each step from a point of its own, with the history that these points have; the network is asked in one batch.

        Args:
            points: The points from which the N steps begin, ``(A, N, C, h, w)``, the noisiest first.
            rows: Indices ``(A,)`` of their samples.

        Returns:
            Where the steps end, N times ``(A, C, h, w)``.
        """
        history: Tensor | None = None
        ends = []
        pairs = zip(points.unbind(1), self._predict_all(points, rows).unbind(1), strict=True)
        for index, (step, (point, output)) in enumerate(zip(self.steps, pairs, strict=True)):
            ends.append(step(point, output, history, self.noise(index, rows)))
            history = step.handed_on(point, output)
        return ends

    def _predict_all(self, points: Tensor, rows: Tensor) -> Tensor:
        """Give the network's outputs at all points, shaped as these, float32; see ``step_all``."""
        samples, count = points.shape[:2]
        self.count(rows, count)
        scales = torch.tensor([step.scale for step in self.steps]).to(points)
        times = torch.tensor([step.time for step in self.steps]).to(points)
        shown = points / scales.view(-1, *[1] * (points.ndim - 2))
        condition = self.condition.select(rows.repeat_interleave(count))
        return self.guidance(shown.flatten(0, 1), times.repeat(samples), condition).view_as(points)

    @torch.no_grad()
    def walk(self, noise: Tensor, rows: Tensor | None = None) -> Iterator[Visited]:
        """Take the steps one by one from standard normal noise ``(B, C, h, w)``; the noisiest point comes first.

        Args:
            noise: The noise.
            rows: Indices ``(A,)`` of its samples; by default all.
        """
        point = noise.float() * self.trajectory.start
        history: Tensor | None = None
        for index, step in enumerate(self.steps):
            output = self.predict(step, point, rows)
            following = step(point, output, history, self.noise(index, rows))
            handed_on = step.handed_on(point, output)
            yield Visited(point, output, handed_on, following)
            point, history = following, handed_on

    def generate(self, noise: Tensor) -> Tensor:
        """Make scaled latents from standard normal noise ``(B, C, h, w)``."""
        return self.generate_pair(noise)[0]

    @torch.no_grad()
    def generate_pair(self, noise: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Make scaled latents, and beside them their companions where points go in pairs.

        Args:
            noise: Standard normal noise ``(A, C, h, w)``.
            rows: Indices ``(A,)`` of its samples; by default all.
        """
        trajectory = self.trajectory
        if trajectory.coupling is not None:
            predict = partial(self.predict, rows=rows)
            latent, companion = trajectory.coupling.generate(trajectory.steps, predict, noise * trajectory.start)
            return latent.float(), companion.float()
        point = noise
        for visited in self.walk(noise, rows):
            point = visited.following
        return point, None

    @torch.no_grad()
    def invert_pair(self, latent: Tensor) -> Tensor:
        """Go from scaled latents ``(B, C, h, w)``, and their companions where they are known, back to the noise."""
        trajectory, coupling = self.trajectory, self.trajectory.coupling
        assert coupling is not None
        if self.companion is None:
            pair = coupling.complete(trajectory.steps, self.predict, latent)
        else:
            pair = latent.double(), self.companion.double()
        return coupling.invert(trajectory.steps, self.predict, pair).float() / trajectory.start
