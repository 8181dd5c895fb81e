"""What comes out of an inversion."""

from dataclasses import dataclass

from torch import Tensor

from decinv.status import Status


@dataclass(frozen=True)
class Result:
    """The outcome of one chunk of ``B`` samples.

    Of clips that a codec of images codes frame by frame, every frame is a sample: ``decinv.invert`` gives the latents of ``B``
    clips of T frames as ``(B, C, T, h, w)``, ``(B, T)`` in place of ``(B,)``, and ``B T`` outcomes, clip after clip.

    Attributes:
        latent: Raw latents ``(B, C, h, w)``, or ``(B, C, t, h, w)`` of clips, float32: for each sample the best iterate that
            was evaluated, see ``decinv.solver.Solver``. Rows of samples that never had a finite iterate are nan.
        residual: Relative residual ``(B,)`` of those latents.
        history: Relative residual ``(K, B)`` at each iteration; nan after a sample ended.
        iterations: Iterations ``(B,)`` that each sample took.
        evaluations: Evaluations ``(B,)`` of the problem's map that each sample took.
        seconds: Seconds ``(B,)`` of computing that each sample took, its share of every step that it was part of.
        status: ``B`` outcomes.
    """

    latent: Tensor
    residual: Tensor
    history: Tensor
    iterations: Tensor
    evaluations: Tensor
    seconds: Tensor
    status: tuple[Status, ...]
