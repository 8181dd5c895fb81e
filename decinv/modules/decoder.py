"""Gradient-free decoder inversion, and the encoder alone as its baseline."""

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from decinv.codecs.base import Codec
from decinv.modules.base import Inversion
from decinv.problems.decoder import DecoderProblem
from decinv.stopping import Stopping
from decinv.updates.anderson import Anderson
from decinv.updates.forward import ForwardStep


class DecoderInversion(Inversion):
    """Solve ``E(D(z)) = E(x)`` by a fixed-point iteration of forward passes (arXiv 2409.18442), started at z = E(x)."""

    def __init__(
        self,
        codec: Codec,
        update: OptimizerCallable = Anderson,
        max_iters: int = 50,
        rtol: float = 1e-5,
        patience: int | None = 15,
        last_iterate: bool = False,
        gradient_steps: int = 0,
    ) -> None:
        """Combine codec, update rule and stopping.

        Args:
            codec: The codec whose decoder is inverted.
            update: The update rule: one of ``decinv.updates``, or an optimizer of torch. The default needs no tuning.
            max_iters: Largest number of iterations of a sample, each one evaluation of E(D(z)), at least 1.
            rtol: Relative residual ``||E(D(z)) - E(x)|| / ||E(x)||`` below which a sample has converged, at least 0; that near
                another image, or of magnified pixel errors, where E is asked about these (``decinv.problems.DecoderProblem``).
            patience: Iterations without progress after which a sample has stalled, at least 1; null for never.
            last_iterate: Whether to report the iterate after the last update, as the published code does, instead of the best
                one evaluated; it costs one more evaluation.
            gradient_steps: Largest number of further iterations, at least 0, of samples that would end at E(x), as images do of
                which E makes much of small pixel errors: steps along gradients of the pixel error, see
                ``decinv.problems.DescentProblem``. They need the memory of a decoder's graph for one image.

        Raises:
            ValueError: If an argument is out of range.
        """
        super().__init__(codec, update, Stopping(max_iters, rtol, patience, last_iterate, gradient_steps))

    def problem(self, image: Tensor) -> DecoderProblem:
        """State ``E(D(z)) = E(x)``."""
        return DecoderProblem(self.codec, image)


class EncoderInversion(Inversion):
    """Take z = E(x) for the latent and measure its residual: the baseline without iteration."""

    def __init__(self, codec: Codec) -> None:
        """Take the codec.

        Args:
            codec: The codec whose encoder stands in for the decoder's inverse.
        """
        super().__init__(codec, ForwardStep, Stopping(max_iters=1, rtol=0.0, patience=None))

    def problem(self, image: Tensor) -> DecoderProblem:
        """State ``E(D(z)) = E(x)``, of which only the start is evaluated."""
        return DecoderProblem(self.codec, image)
