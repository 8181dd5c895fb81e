"""The problem: what an inversion solves, one row a sample."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor


class Evaluation(NamedTuple):
    """What one evaluation of a problem tells of ``B`` points.

    Attributes:
        residual: The direction ``(B, ...)`` that an update rule finds in ``.grad``, shaped as the points, float32.
        merit: How far each point is from being a solution, ``(B,)``; relative, so 1 means as far as 0 is.
        mismatch: The distance in image space ``(B, 3, H, W)``, ``D(z) - x``, by which the best iterate is chosen, too, and
            some rules step; where there are no images, zeros ``(B, 1)``, or the residual again.
    """

    residual: Tensor
    merit: Tensor
    mismatch: Tensor

    def check(self, point: Tensor, problem: str) -> None:
        """Refuse what no solver could go on with.

        Args:
            point: The points.
            problem: What was evaluated.

        Raises:
            ValueError: If a part is no tensor of the shape that it is to have.
        """
        expected = {"residual": tuple(point.shape), "merit": (len(point),), "mismatch": (len(point), "...")}
        for (name, shape), part in zip(expected.items(), self, strict=True):
            found = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
            if found != shape and (name != "mismatch" or not isinstance(found, tuple) or found[:1] != shape[:1]):
                wanted = str(shape).replace("'", "")
                raise ValueError(f"Expected `evaluate` of {problem} to give `{name}` of shape {wanted}, but got {found}.")

    def select(self, keep: Tensor) -> "Evaluation":
        """Give the rows of ``keep`` (indices)."""
        return Evaluation(*(part[keep] for part in self))


class Problem(ABC):
    """Find a point at which a residual is zero, for each of ``B`` samples on its own.

    Points live in the diffusion model's (scaled) latent space. No row of anything here depends on another row.

    Attributes:
        magnifies: Whether pixel errors that a network would lose in its rounding are magnified before it answers them; the
            solver sets what the update rule asks for, and only problems with a codec take notice.
    """

    magnifies: bool = False

    @abstractmethod
    def start(self) -> Tensor:
        """Give the first point of each sample, ``(B, ...)``, float32."""

    @abstractmethod
    def evaluate(self, point: Tensor) -> Evaluation:
        """Evaluate the active samples' points, without a gradient graph in what is returned."""

    @abstractmethod
    def select(self, keep: Tensor) -> None:
        """Drop the samples that are not in ``keep`` (indices into the active samples)."""

    @abstractmethod
    def latent(self, point: Tensor) -> Tensor:
        """Map points to the raw latents to report."""

    def descent(self, rows: Tensor) -> "Problem":
        """State the same for some of the first samples (indices), with residuals that are steps along gradients.

        Raises:
            ValueError: If the problem knows none.
        """
        raise ValueError(
            f"Expected `gradient_steps` 0 for {type(self).__name__}, which has no other steps for samples that end at their "
            f"start, but {len(rows)} did; set it so."
        )

    def restart(self, rows: Tensor, attempt: int) -> "Problem | None":
        """State the same for some of the first samples (indices), with other starts in each attempt, which count from 1.

        Returns:
            The problem; ``None`` where there are no other starts.
        """
        del rows, attempt
        return None

    def change_reference(self, rows: Tensor) -> bool:
        """Take the residuals of some active samples in another way from now on, since theirs lead away from the solution.

        A problem that has another way defines ``stated_merit``, and keeps the way in its ``state_dict``.

        Args:
            rows: Whether a sample is one of these, ``(A,)``.

        Returns:
            Whether the problem has another way; if not, nothing changes.
        """
        del rows
        return False

    def stated_merit(self, point: Tensor, rows: Tensor) -> Tensor:
        """Give the merit of points of some of the first samples (indices) as it was before ``change_reference``, ``(R,)``."""
        raise NotImplementedError(
            f"{type(self).__name__} knows no other reference, so that {len(rows)} samples have but one merit."
        )

    def likeness(self, mismatch: Tensor) -> Tensor:
        """Tell how alike the errors of neighbouring pixels are, from 0 of independent ones to 1, ``(A,)``; 0 without images.

        Args:
            mismatch: That of an evaluation, ``(A, ...)``.
        """
        return mismatch.new_zeros(len(mismatch))

    def state_dict(self) -> dict[str, Tensor]:
        """Give what evaluations depend on and have left behind beside the statement, for a checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what ``state_dict`` gave in a problem that was stated in the same way, on any device."""
        del state


def norms(rows: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Give the Euclidean norm of each row of ``rows``, ``(B,)``, float32.

    Args:
        rows: The rows ``(B, ...)``.
        dtype: Number format of the squares' sum: that of float32 under- and overflows at lengths of about 1e-20 and 1e19.
    """
    result: Tensor = torch.linalg.vector_norm(rows.flatten(1).float(), dim=1, dtype=dtype)
    return result.float()


def sizes(rows: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Give what residuals are relative to: the norms of ``rows``, and 1 where a row is 0, as of a grey image: ``(B,)``."""
    size = norms(rows, dtype)
    return torch.where(size > 0, size, 1.0)


def lengths(rows: Tensor) -> Tensor:
    """Give the norms of ``rows`` to divide by, ``(B,)``: at least the smallest normal number of float32."""
    return norms(rows).clamp_min(torch.finfo(torch.float32).tiny)


def neighbour_correlation(images: Tensor) -> Tensor:
    """Give the correlation of neighbouring pixels of each image, about 0, across and down: at least 0, ``(B,)``, float32.

    Args:
        images: The images ``(B, ..., H, W)``.
    """
    images = images.float()
    across = (images[..., 1:] * images[..., :-1]).flatten(1).sum(1)
    down = (images[..., 1:, :] * images[..., :-1, :]).flatten(1).sum(1)
    squares = images.square().flatten(1).sum(1)
    return torch.where(squares > 0, (across + down) / (2 * squares), 0.0).clamp_min(0.0)


def spread(values: Tensor, rows: Tensor) -> Tensor:
    """Give one value a row, ``(B,)``, the shape in which it meets every value of its row of ``rows`` ``(B, ...)``."""
    return values.view(-1, *[1] * (rows.ndim - 1))
