"""Drivers of video autoencoders whose classes ask for more than a clip."""

from typing import Any

import torch
from torch import Tensor

from decinv.codecs.driver import ClipDriver
from decinv.codecs.frames import FrameRule, as_clips, as_frames

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of red, green and blue in [0, 1] on ImageNet."""


class SharedDecoderDriver(ClipDriver):
    """Encode frames as images, and decode all frames of a clip together: AutoencoderKLTemporalDecoder."""

    note = "Frames are encoded apart, and all frames of a clip are decoded together."
    encodes_frames = True

    def decode(self, latent: Tensor) -> Tensor:
        """Say how many frames a clip has."""
        times = latent.shape[2]
        return as_clips(self._sample(self.model.decode(as_frames(latent), num_frames=times)), times)

    def frame_rule(self) -> FrameRule:
        """Take any number of frames."""
        return FrameRule()


class GroupedDriver(ClipDriver):
    """Code groups of 8 frames after the first one: AutoencoderKLCogVideoX."""

    def frame_rule(self) -> FrameRule:
        """Give 2 latent frames for 8 frames, at the class's ratio of 4."""
        group = int(self.model.num_sample_frames_batch_size)
        return FrameRule(1, group, 1, group // int(self.model.config["temporal_compression_ratio"]))


class SingleDriver(ClipDriver):
    """Code one clip after the other, where the class takes no more at once: AutoencoderKLHunyuanVideo15."""

    note = "Clips are coded one after the other."

    def encode(self, image: Tensor) -> Tensor:
        """Encode clip by clip."""
        return torch.cat([super(SingleDriver, self).encode(row) for row in torch.split(image, 1)])

    def decode(self, latent: Tensor) -> Tensor:
        """Decode clip by clip."""
        return torch.cat([super(SingleDriver, self).decode(row) for row in torch.split(latent, 1)])


class TiledDriver(SingleDriver):
    """Code clips whole with a class that knows only tiles: AutoencoderKLAllegro. With tiling, its tiles must fit the clip."""

    note = "Clips are coded whole and one after the other; by the tiles of the class with `tiling`, if they fit."

    def __init__(self, model: Any) -> None:
        """Make the class work at all."""
        super().__init__(model)
        self.tiles: tuple[tuple[int, ...], tuple[int, ...]] = model.kernel, model.stride
        model.enable_tiling()

    def encode(self, image: Tensor) -> Tensor:
        """Encode one tile of the clip's size, or the class's own tiles."""
        self._lay_tiles(tuple(image.shape[2:]))
        return super().encode(image)

    def decode(self, latent: Tensor) -> Tensor:
        """Decode likewise; the class puts frames before channels."""
        ratio, stride = self.model.config["temporal_compression_ratio"], self.model.spatial_compression_ratio
        times, height, width = latent.shape[2:]
        self._lay_tiles((times * int(ratio), height * stride, width * stride))
        return super().decode(latent).transpose(1, 2)

    def _lay_tiles(self, clip: tuple[int, ...]) -> None:
        if not self.is_tiled:
            self.model.kernel = self.model.stride = clip
            return
        for name, length, tile, step in zip(("frames", "rows", "columns"), clip, *self.tiles, strict=True):
            if length < tile or (length - tile) % step:
                raise ValueError(
                    f"Expected {tile} + k * {step} {name}, for tiles must cover the clip, but got {length}; leave `tiling` off."
                )

    def enable_tiling(self) -> None:
        """Go back to the class's own tiles."""
        super().enable_tiling()
        self.model.kernel, self.model.stride = self.tiles
        self.sizes = (self.tiles[0][1],)

    def beyond_tiles(self, size: int, stride: int) -> list[tuple[int, int]]:
        """Give none: what the class is tried with are its tiles already."""
        return []

    def frame_rule(self) -> FrameRule:
        """Give one latent frame for each 4 frames."""
        ratio = int(self.model.config["temporal_compression_ratio"])
        first, step = (self.tiles[0][0], self.tiles[1][0]) if self.is_tiled else (2 * ratio, ratio)
        return FrameRule(first, step, first // ratio, step // ratio)


class CachingDriver(ClipDriver):
    """Forget features of an earlier clip that a failure left behind: AutoencoderKLMagvit."""

    def encode(self, image: Tensor) -> Tensor:
        """Encode from an empty cache."""
        self.model._clear_conv_cache()
        return super().encode(image)

    def decode(self, latent: Tensor) -> Tensor:
        """Decode from an empty cache."""
        self.model._clear_conv_cache()
        return super().decode(latent)


class SegmentedDriver(ClipDriver):
    """Refuse clips of which a single latent frame is left for the last segment of 16 frames: AutoencoderKLKVAEVideo."""

    note = "Clips of 21, 37, 53, ... frames are refused, since the class decodes them to fewer."

    def encode(self, image: Tensor) -> Tensor:
        """Encode what is decoded to as many frames."""
        ratio, count = int(self.model.config["temporal_compress_times"]), image.shape[2]
        if count > 16 + ratio and (count - 1) % 16 == ratio:
            raise ValueError(
                f"Expected a clip that {type(self.model).__name__} decodes to as many frames, but got one of {count}, of which "
                f"it loses some; take {count - ratio} or {count + ratio}."
            )
        return super().encode(image)


class PaddingDriver(ClipDriver):
    """Repeat the first frame before the clip, as the class's own ``forward`` does: AutoencoderVidTok."""

    note = "A causal one repeats the first frame before the clip."

    def encode(self, image: Tensor) -> Tensor:
        """Encode the padded clip, and let go of the features that the class keeps."""
        if self.model.is_causal:
            first = image[:, :, :1].expand(-1, -1, self.model.temporal_compression_ratio - 1, -1, -1)
            image = torch.cat([first, image], dim=2)
        try:
            return super().encode(image)
        finally:
            self.model._empty_causal_cached(self.model.encoder)

    def decode(self, latent: Tensor) -> Tensor:
        """Decode, and let go of the features that the class keeps."""
        try:
            return super().decode(latent)
        finally:
            self.model._empty_causal_cached(self.model.decoder)

    def frame_rule(self) -> FrameRule:
        """Give the class's rule, which differs between causal and other ones."""
        if self.model.is_causal:
            return super().frame_rule()
        group, latents = self.model.num_sample_frames_batch_size, self.model.num_latent_frames_batch_size
        return FrameRule(group, group, latents, latents)


class TimedDriver(ClipDriver):
    """Decode at the end of diffusion, with fixed noise where the decoder adds some: AutoencoderKLLTXVideo, its successor."""

    note = "It decodes at timestep 0, all clips with the same noise where the decoder adds any."

    def decode(self, latent: Tensor) -> Tensor:
        """Decode at timestep 0, which is where the pipelines decode by default; all clips get the same noise."""
        if not self.model.config["timestep_conditioning"]:
            return super().decode(latent)
        devices = [latent.device] if latent.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(0)
            return self._sample(self.model.decode(latent, latent.new_zeros(len(latent))))


class ImageNetDriver(ClipDriver):
    """Code clips in ImageNet's normalisation: AutoencoderKLMiniMaxH3, which is made of tiles, with which it was published."""

    note = "Frames above 256 pixels are coded in tiles, as published."

    def encode(self, image: Tensor) -> Tensor:
        """Encode normalised pixels."""
        mean, std = (image.new_tensor(values).view(3, 1, 1, 1) for values in IMAGENET)
        return super().encode((image / 2 + 0.5 - mean) / std)

    def decode(self, latent: Tensor) -> Tensor:
        """Decode to pixels in [-1, 1]."""
        decoded = super().decode(latent)
        mean, std = (decoded.new_tensor(values).view(3, 1, 1, 1) for values in IMAGENET)
        return (decoded * std + mean) * 2 - 1

    def frame_rule(self) -> FrameRule:
        """Give 5 latent frames for 17 frames, beyond 7 for 22, as published."""
        length, drop = int(self.model.config["clip_length"]), int(self.model.config["token_drop"])
        latents = int(self.model.tokens_chunk_size)
        return FrameRule(length + int(self.model.frame_overlap), length, latents * (1 + (drop > 0)) - drop, latents)
