import pytest
import torch

from decinv.benchmark.measuring.metering import METERED, measure_memory, measure_pass
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT, DecoderMethod
from decinv.benchmark.measuring.published import PUBLISHED
from decinv.codecs import AutoencoderCodec, LinearCodec
from decinv.problems import DecoderProblem
from decinv.updates import Anderson, ForwardStep


def test_memory_is_that_of_live_tensors(images):
    codec, image = LinearCodec(), images(3)
    encoder, forward, anderson = (
        measure_memory(BY_NAME[name], codec, image, 5) for name in ("encoder", "forward step 1", DEFAULT)
    )
    latent = codec.encode(image).nbytes
    assert encoder.mib * 2**20 >= latent / 3  # at least E(x) in float32
    # Anderson keeps a change of the image and of the latent for each of 5 iterations but the first, and the last residual.
    assert (anderson.mib - forward.mib) * 2**20 >= 5 * (image.nbytes + latent) / 3
    assert measure_memory(BY_NAME[DEFAULT], codec, image, 5) == anderson
    for memory in (encoder, forward, anderson):
        assert memory.passes == pytest.approx(memory.mib * 3 / measure_pass(codec, image))


def test_a_pass_is_one_encode_and_one_decode(images):
    class Bare(LinearCodec):
        """Makes nothing but latents, and images from them."""

        def _encode(self, image):
            return image.new_ones(len(image), 4, 4, 4)

        def _decode(self, latent):
            return latent.new_ones(len(latent), 3, 16, 16)

    image = images(2)
    assert measure_pass(Bare(), image) * 2**20 == 2 * 4 * (4 * 4 * 4 + 3 * 16 * 16)


def test_metering_ends_when_every_history_is_full(images):
    steps = []

    class Counted(ForwardStep):
        def update(self):
            steps.append(1)
            super().update()

    measure_memory(DecoderMethod("counted", DecoderProblem, Counted), LinearCodec(), images(1), 1000)
    assert len(steps) == METERED
    assert Anderson([torch.nn.Parameter(torch.empty(0))]).history < METERED


def test_a_published_loop_holds_one_image_and_its_copy_of_the_autoencoder(saved, images):
    codec = AutoencoderCodec(str(saved("kl")))
    loop = PUBLISHED[0]
    found = measure_memory(loop, codec, images(3), 1)
    assert found == measure_memory(loop, codec, images(1), 1)
    weights = sum(weight.nbytes for weight in codec.parameters()) / 2**20
    alone = measure_pass(codec, images(1))
    assert weights < found.mib < weights + 2 * alone
