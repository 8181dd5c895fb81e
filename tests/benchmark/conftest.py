import pytest

from decinv.codecs import LinearCodec


class Ticking(LinearCodec):
    """Its clock moves a second for each image decoded or encoded."""

    seconds = 0.0

    def _encode(self, image):
        self.seconds += len(image)
        return super()._encode(image)

    def _decode(self, latent):
        self.seconds += len(latent)
        return super()._decode(latent)


@pytest.fixture
def ticking():
    return Ticking()
