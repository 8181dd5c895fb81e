"""Where the images and the solver's state of a chunk live: on the codec's device, or on the host."""

import torch
from torch import Tensor

from decinv.codecs.base import Codec
from decinv.memory import PeakMemory, is_out_of_memory, release
from decinv.solver_memory import solver_need
from decinv.stopping import Stopping
from decinv.updates.base import UpdateFactory

HOST = torch.device("cpu")


class Placement:
    """Keep a chunk on the codec's device if the codec's memory budget suffices for it, and else on the host.

    What has to fit in together is the coding of one sample (of one frame, where frames are coded apart), by measurement, and
    what the solver and the update rule keep of all samples: latents, best iterates, moments or history, and the pixel error.
    If it does, the budget reserves the latter, and the codec codes at once what fits into the rest. If not, the problem is to
    be stated for images on the host: then latents, targets and the solver's state live there too, and the codec moves the
    parts that it codes to its device and the results back. Samples come to the same points either way.

    A codec without a budget takes images on its own device only, so there they are. On the CPU the device is the host.
    """

    def __init__(self, codec: Codec, update: UpdateFactory, stopping: Stopping) -> None:
        """Take what stays the same from chunk to chunk.

        Args:
            codec: The codec.
            update: What makes the update rule.
            stopping: When a sample is done.
        """
        self.codec = codec
        self.update = update
        self.stopping = stopping
        self._codings: dict[torch.Size, tuple[int, int] | None] = {}

    def on_host(self, image: Tensor, host: torch.device = HOST) -> bool:
        """Whether the images of a chunk shall be on the host; each size of images takes one encode and one decode, once.

        Args:
            image: The images ``(B, 3, H, W)`` or clips ``(B, 3, T, H, W)``, on any device.
            host: The host, where images are, too, that the codec refuses: who inverts them will meet that again.
        """
        budget = self.codec.budget
        if budget is None or self.codec.device == host or not len(image):
            return False
        size = image.shape[1:]
        if size not in self._codings:
            budget.reserved = budget.bytes  # no more than one row is coded at once
            self._codings[size] = self._coding(image[:1].to(host, torch.float32))
        coding, budget.reserved = self._codings[size], 0
        if coding is None:
            return True
        latent, taken = coding
        state = max(solver_need(self.update, self.stopping, len(image), latent, tuple(size)))
        if state + taken > budget.bytes:
            return True
        budget.reserved = state
        return False

    @torch.no_grad()
    def _coding(self, image: Tensor) -> tuple[int, int] | None:
        """Give the values of an image's latent, and the bytes that coding it takes; ``None`` where it cannot be coded."""
        try:
            with PeakMemory(self.codec.device) as encoding:
                latent = self.codec.encode(image)
            with PeakMemory(self.codec.device) as decoding:
                self.codec.decode(latent)
        except (RuntimeError, ValueError, MemoryError) as error:
            if is_out_of_memory(error):
                release()
            return None
        return latent.numel(), max(encoding.bytes, decoding.bytes)
