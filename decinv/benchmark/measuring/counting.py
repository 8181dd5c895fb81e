"""A codec that counts its work."""

from torch import Tensor

from decinv.benchmark.measuring.wrapped import WrappedCodec
from decinv.codecs.base import Codec


class CountingCodec(WrappedCodec):
    """Another codec, with a count of the images that it encoded, decoded, and took gradients of the decoder at.

    Attributes:
        encodes: Images encoded.
        decodes: Images decoded.
        backwards: Images whose decoding was differentiated.
    """

    def __init__(self, inner: Codec) -> None:
        """Start counting at 0.

        Args:
            inner: The codec that does the work.
        """
        super().__init__(inner)
        self.encodes = self.decodes = self.backwards = 0
        self.freeze()

    def _encode(self, image: Tensor) -> Tensor:
        self.encodes += len(image)
        return super()._encode(image)

    def _decode(self, latent: Tensor) -> Tensor:
        self.decodes += len(latent)
        image = super()._decode(latent)
        if image.requires_grad:
            image.register_hook(self._differentiated)  # type: ignore[no-untyped-call]
        return image

    def _differentiated(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)
