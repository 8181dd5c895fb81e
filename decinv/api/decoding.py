"""Inversion of a decoder without a trainer, chunk by chunk."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from decinv.codecs.base import Codec
from decinv.errors import own_sentence
from decinv.host_memory import HOST_MEMORY
from decinv.memory import in_parts, is_out_of_memory
from decinv.placement import HOST, Placement
from decinv.problems.base import Problem
from decinv.result import Result
from decinv.solver import Solver
from decinv.stopping import Stopping
from decinv.updates.base import UpdateFactory
from decinv.updates.stock import as_rule


class Decoding:
    """How a decoder is inverted."""

    def __init__(
        self, codec: Codec, factory: UpdateFactory, stopping: Stopping, problem: Callable[[Codec, Tensor], Problem]
    ) -> None:
        """Take what stays the same from chunk to chunk.

        Args:
            codec: The codec.
            factory: What makes the update rule.
            stopping: When a sample is done.
            problem: What states the problem of a chunk of images.
        """
        self.codec = codec
        self.factory = factory
        self.stopping = stopping
        self.problem = problem
        self._placement = Placement(codec, factory, stopping)

    def invert(self, pixels: Tensor, batch_size: int) -> list[Result]:
        """Invert the decoder for images, or clips, of one size.

        Args:
            pixels: The images ``(B, 3, H, W)`` or clips ``(B, 3, T, H, W)``, in [-1, 1].
            batch_size: How many are inverted together, and in halves where these do not fit into memory.

        Returns:
            The outcomes of the chunks, in order.

        Raises:
            ValueError: If the codec does not take images of this size.
            RuntimeError: If one image alone does not fit into memory.
        """
        self.codec.try_out(pixels[:1].to(self.codec.device, torch.float32, copy=True))
        try:
            return [part for chunk in torch.split(pixels, batch_size) for part in in_parts(self._solve, chunk)]
        except (RuntimeError, ValueError) as error:
            self._refuse_size(pixels, error)
            raise

    def _solve(self, chunk: Tensor) -> Result:
        """Invert a chunk."""
        device = HOST if self._placement.on_host(chunk) else self.codec.device
        if device == HOST:
            HOST_MEMORY.turn_to(chunk.shape)
        latent = nn.Parameter(torch.empty(0, device=self.codec.device))
        solver = Solver(latent, as_rule(self.factory([latent])), self.stopping)
        images = chunk.clone() if chunk.is_inference() else chunk
        solver.start(self.problem(self.codec, images.to(device, torch.float32)))
        while not solver.done:
            solver.step()
        result = solver.result()
        return replace(result, latent=result.latent.to(self.codec.device))

    def _refuse_size(self, pixels: Tensor, error: RuntimeError | ValueError) -> None:
        """Say what ``error`` means if it is that the codec does not take images, or clips, of this size.

        Raises:
            ValueError: If it is.
        """
        if is_out_of_memory(error) or own_sentence(error) is not None:
            return
        refusal = self.codec.refusal(pixels[:1].to(self.codec.device, torch.float32))
        if refusal is not None:
            size = " x ".join(map(str, pixels.shape[2:]))
            kind = type(self.codec).__name__
            raise ValueError(
                f"Expected images that the codec takes, but got one of {size} pixels, and {kind} {refusal}; give images of "
                "another size."
            ) from error
