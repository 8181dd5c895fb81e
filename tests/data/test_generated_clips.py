"""Generated clips: the truth is the truth, frame by frame and for whole clips."""

import pytest
import torch

from decinv.codecs import FrameRule, LinearCodec
from decinv.data import GeneratedClips, MovingScene, generate_clip
from decinv.data.generated import decode_rounded
from decinv.data.generated_clips import draw_frame_latent

CODEC = LinearCodec(scaling_factor=0.3, shift_factor=0.2)


def test_decoding_the_latents_gives_the_frames():
    data = GeneratedClips(count=2, clip_length=3, size=16, batch_size=4)
    batches = list(data.chunks(CODEC))
    assert [batch.names for batch in batches] == [
        ("generated-00000/00000", "generated-00000/00001", "generated-00000/00002", "generated-00001/00000"),
        ("generated-00001/00001", "generated-00001/00002"),
    ]
    for batch in batches:
        for image, latent in zip(batch.image, batch.latent, strict=True):
            assert torch.equal(image, decode_rounded(CODEC, latent[None])[0])


def test_frames_do_not_depend_on_what_is_batched_or_shared_out():
    whole = {
        name: image
        for batch in GeneratedClips(2, 4, 16, batch_size=3).chunks(CODEC)
        for name, image in zip(batch.names, batch.image, strict=True)
    }
    for index in range(2):
        data = GeneratedClips(2, 4, 16, batch_size=1, block=3, shard=f"{index}/2")
        for batch in data.chunks(CODEC):
            assert torch.equal(batch.image[0], whole.pop(batch.names[0]))
    assert not whole


def test_without_perturbation_the_latent_is_the_encoders():
    latent = draw_frame_latent(CODEC, 1, 5, size=16, seed=3, perturbation=0.0)
    torch.testing.assert_close(latent, CODEC.encode(MovingScene(1, 16, 3).frame(5)[None])[0], rtol=0, atol=1e-5)


def test_each_frame_has_noise_of_its_own_of_the_stated_size():
    noise = []
    for frame in range(3):
        clean, noisy = (CODEC.scaling.apply(draw_frame_latent(CODEC, 0, frame, 64, perturbation=size)) for size in (0.0, 0.2))
        noise.append((noisy - clean) / clean.std())
    table = torch.stack(noise).flatten(1)
    assert (table.std(dim=1) - 0.2).abs().max() < 4 * 0.2 / (2 * 1024) ** 0.5
    assert (torch.corrcoef(table) - torch.eye(3)).abs().max() < 5 / 32


def test_one_clip_as_a_chunk():
    clip = generate_clip(CODEC, index=1, length=3, size=16)
    data = GeneratedClips(count=2, clip_length=3, size=16, batch_size=6)
    (both,) = data.chunks(CODEC)
    assert clip.names == both.names[3:]
    assert torch.equal(clip.image, both.image[3:])
    assert torch.equal(clip.latent, both.latent[3:])


def test_whole_clips_for_codecs_that_compress_time():
    class Pairs(LinearCodec):
        frames = FrameRule(2, 2, 1, 1)

        def _encode(self, clip):
            return torch.stack(
                [LinearCodec._encode(self, clip[:, :, k : k + 2].mean(2)) for k in range(0, clip.shape[2], 2)], 2
            )

        def _decode(self, latent):
            return torch.stack([LinearCodec._decode(self, frame) for frame in latent.unbind(2) for _ in range(2)], 2)

    codec = Pairs()
    (batch,) = GeneratedClips(count=2, clip_length=4, size=16, unit="clip").chunks(codec)
    assert batch.names == ("generated-00000", "generated-00001")
    assert batch.image.shape == (2, 3, 4, 16, 16)
    assert batch.latent.shape == (2, 4, 2, 4, 4)
    assert torch.equal(batch.image[1], decode_rounded(codec, batch.latent[1:])[0])
    (empty,) = GeneratedClips(count=1, clip_length=3, size=16, unit="clip").chunks(codec)
    assert "2, 4, 6, ... frames, but got 3" in empty.failures[0].reason


def test_wrong_options():
    for option in ({"count": -1}, {"clip_length": 0}, {"size": 7}, {"seed": -1}, {"perturbation": -0.1}):
        (name,) = option
        with pytest.raises(ValueError, match=f"`{name}` to be at least"):
            GeneratedClips(**option)
