"""A codec around another one."""

from contextlib import AbstractContextManager

from torch import Tensor

from decinv.codecs.base import Codec


class WrappedCodec(Codec):
    """Another codec, for subclasses that change or watch its maps."""

    def __init__(self, inner: Codec) -> None:
        """Be like a codec; subclasses call ``freeze`` once they are made.

        Args:
            inner: The codec that does the work.
        """
        super().__init__()
        self.inner = inner
        self.stride, self.latent_channels = inner.stride, inner.latent_channels
        self.scaling, self.clamps, self.frames, self.proven = inner.scaling, inner.clamps, inner.frames, inner.proven

    @property
    def encodes_frames(self) -> bool:
        """Whether the other one encodes clips frame by frame."""
        return self.inner.encodes_frames

    @property
    def rounding(self) -> float:
        """That of the other one."""
        return self.inner.rounding

    def arithmetic(self) -> AbstractContextManager[None]:
        """Compute gradients as the other one does."""
        return self.inner.arithmetic()

    def _encode(self, image: Tensor) -> Tensor:
        return self.inner._encode(image)

    def _decode(self, latent: Tensor) -> Tensor:
        return self.inner._decode(latent)
