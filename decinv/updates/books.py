"""The numbers that Anderson acceleration computes with on the host, and what it computes from them."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

TINY = float(np.finfo(np.float64).tiny)

RISE = 0.01
"""A squared error that rises by more than this part of the first one halves a sample's step size."""

GROWTH = 1.25
"""What a sample's step size is multiplied by after a step that did not grow."""

SLOWEST = 0.02
"""Least part of the step size that is taken."""

PROGRESS = 0.8
"""Part of its last mark below which a squared error must fall to count as progress."""

FAR = 4.0
"""Largest squared distance from start to solution that is reckoned with, over ``||T(z_0)||^2``; some 2 is usual."""


class Books(NamedTuple):
    """The numbers of the active samples, float64, in which products of ``History.error`` and ``changes`` are in units of r.

    Attributes:
        distance: The squared length ``||T(z_0)||^2``, or 1 where that is 0, ``(B,)``.
        unit: What products of ``History.error`` and ``changes`` are multiplied by, ``(B,)``.
        size: ``||r_b||^2``, ``(B,)``.
        first: The first of these, ``(B,)``.
        rate: The part of the step size that is taken, in (0, 1], ``(B,)``.
        gram: Inner products of the differences of r, ``(B, m, m)``.
        slopes: Inner products of these with r_b, ``(B, m)``.
        weights: The last coefficients g, ``(B, m)``.
        doubt: The squared error e of the last prediction, ``(B,)``.
        mark: ``||r_b||^2`` at the last progress, ``(B,)``.
        idle: Iterations since, ``(B,)``.
        hold: The part of the pull that is taken, ``(B,)``.
        stage: Which point of the probe comes next, 1 or 2; 0 before it and 3 after it; -1 where the next point is the best one
            again, whose residual will be taken in another way, ``(B,)``.
        steep: 1 where E makes much of the small pixel error of the start, else 0, ``(B,)``.
    """

    distance: Numbers
    unit: Numbers
    size: Numbers
    first: Numbers
    rate: Numbers
    gram: Numbers
    slopes: Numbers
    weights: Numbers
    doubt: Numbers
    mark: Numbers
    idle: Numbers
    hold: Numbers
    stage: Numbers
    steep: Numbers

    @property
    def probing(self) -> NDArray[np.bool_]:
        """Whether the next point of a sample is one of its probe, or the best one again, which nothing predicts, ``(B,)``."""
        chosen: NDArray[np.bool_] = (self.stage != 0) & (self.stage != 3)
        return chosen

    def go_on(self, due: NDArray[np.bool_]) -> "Books":
        """Let probes that have begun go on, and those that are ``due`` begin; the books share memory with these."""
        return self._replace(stage=self.stage + (due | self.probing))

    def note(self, products: Numbers, size: Numbers, slot: int, decay: float) -> "Books":
        """Judge the last prediction, if it was one, by a new iterate, and take its difference to the best one into a slot.

        Args:
            products: Inner products ``(B, 2, 2 + used)`` of r_b and the new difference with r_b, that difference, and the
                differences in the slots that are used so far.
            size: The new ``||r||^2``, ``(B,)``; where it is smaller, the iterate is the best one from now on.
            slot: The slot, which may be used already.
            decay: Least factor from one prediction error to the next.

        Returns:
            The books, which share memory with these.
        """
        own, others, used = products[:, 1, 1], products[:, 1, 2:], products.shape[2] - 2
        weights = self.weights[:, :used]
        expected = np.matmul(self.gram[:, :used, :used], weights[..., None])[..., 0] + 2 * others
        surprise = own + (expected * weights).sum(1)
        self.gram[:, slot, :used] = self.gram[:, :used, slot] = others
        self.gram[:, slot, slot] = own
        self.slopes[:, :used] = products[:, 0, 2:]
        self.slopes[:, slot] = products[:, 0, 1]
        better, grew = size < self.size, size > self.size + RISE * self.first
        self.slopes[:] += np.where(better[:, None], self.gram[:, slot], 0.0)
        best = np.minimum(size, self.size)
        progress = best < PROGRESS * self.mark
        judged = {
            "mark": np.where(progress, best, self.mark),
            "idle": np.where(progress, 0.0, self.idle + 1),
            "rate": np.minimum(np.maximum(self.rate * np.where(grew, 0.5, GROWTH), SLOWEST), 1.0),
            "doubt": np.maximum(surprise, decay * self.doubt),
        }
        kept = {name: np.where(self.probing, getattr(self, name), value) for name, value in judged.items()}
        return self._replace(size=best, **kept)

    def mix(self, spread: Numbers, pull: float, ridge: float, away: Numbers | None = None, prior: float = 0.0) -> Numbers:
        """Solve the normal equations for coefficients ``(B, used)``, 0 where nothing finite comes out, and note them.

        Args:
            spread: Inner products ``(B, 1 + used, 1 + used)`` of the plain step and the differences of y.
            pull: Weight of the prior around the best iterate.
            ridge: Part of ``||r_b||^2`` that is added to each difference's squared length.
            away: Inner products ``(B, 2 + used)`` of ``z_b - z_0`` with these and itself; ``None`` for no prior around z_0.
            prior: Weight of the prior around z_0, in which ``||r_b||^2`` counts as noise.
        """
        m = spread.shape[1] - 1
        near = (pull * self.hold * self.doubt / self.distance)[:, None]
        system = self.gram[:, :m, :m] + near[..., None] * spread[:, 1:, 1:]
        right = self.slopes[:, :m] + near * spread[:, 1:, 0]
        if away is not None:
            far = (prior * self.size / np.clip(away[:, -1], self.distance, FAR * self.distance))[:, None]
            system += far[..., None] * spread[:, 1:, 1:]
            right += far * (spread[:, 1:, 0] + away[:, 1:-1])
        diagonal = system.reshape(len(system), m * m)[:, :: m + 1]  # a view
        diagonal += ridge * self.size[:, None]
        np.maximum(diagonal, TINY, out=diagonal)
        scale = 1 / np.sqrt(diagonal)
        system *= scale[:, :, None] * scale[:, None, :]
        solved = torch.linalg.solve_ex(torch.from_numpy(system), torch.from_numpy((right * scale)[..., None]))[0]
        weights: Numbers = solved.numpy()[..., 0] * scale
        self.weights[:, :m] = weights = np.where(np.isfinite(weights).all(1, keepdims=True), weights, 0.0)
        return weights
