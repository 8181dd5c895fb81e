"""Drivers: the two maps of an autoencoder of diffusers as functions of tensors, whatever its class asks for."""

import inspect
import warnings
from typing import Any, ClassVar

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from decinv.codecs.frames import FrameRule, as_clips, as_frames
from decinv.codecs.scaling import Scaling, scaling_of

SIZES = (64, 128, 256, 512)
"""Image sizes in pixels that are tried, in order, to learn an autoencoder's stride."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of red, green and blue in [0, 1] on ImageNet."""


class Driver:
    """Encode and decode images ``(B, 3, H, W)``; subclasses say what their autoencoders do otherwise.

    E is the mode of the posterior, or the latent itself where the encoder has no posterior; D is the decoder alone.

    Attributes:
        codes_clips: Whether it takes clips ``(B, 3, T, H, W)`` instead.
        encodes_frames: Whether a codec of clips encodes frames, as images, that no other frame takes part in.
        note: What users should know of it, one sentence for the table of classes.
        reads_values: Whether the host reads values back on the way, so that nothing is known without computing.
        sizes: Image sizes in pixels with which to try the autoencoder.
    """

    codes_clips: ClassVar[bool] = False
    encodes_frames: ClassVar[bool] = False
    note: ClassVar[str] = ""
    reads_values: ClassVar[bool] = False

    def __init__(self, model: Any) -> None:
        """Take the autoencoder."""
        self.model = model
        self.sizes: tuple[int, ...] = SIZES

    def encode(self, image: Tensor) -> Tensor:
        """Give the latents of images in the autoencoder's number format."""
        output = self.model.encode(image)
        for name in ("latent_dist", "latents", "latent"):
            if hasattr(output, name):
                latent = getattr(output, name)
                mode: Tensor = latent.mode() if name == "latent_dist" else latent
                return mode
        raise ValueError(
            f"Expected an encoder output with a latent, but {type(self.model).__name__} gives {type(output).__name__}."
        )

    def decode(self, latent: Tensor) -> Tensor:
        """Give the images of latents."""
        return self._sample(self.model.decode(latent))

    @staticmethod
    def _sample(output: Any) -> Tensor:
        sample: Tensor = getattr(output, "sample", output)
        return sample

    def frame_rule(self) -> FrameRule:
        """Guess which numbers of frames the autoencoder takes; ``probe`` tries it out."""
        name = "temporal_compression_ratio"
        return FrameRule(1, int(self.model.config.get(name) or vars(self.model).get(name) or 4))

    def scaling(self, channels: int) -> Scaling:
        """Give the map of the autoencoder's latents to the diffusion model's space."""
        return scaling_of(self.model, channels)

    def enable_tiling(self) -> None:
        """Switch tiling on, and say what that means; refuse where the class has none that works."""
        switch = getattr(self.model, "enable_tiling", None)
        kind = type(self.model).__name__
        try:
            if switch is None or not inspect.ismethod(switch):
                raise NotImplementedError
            switch()
        except NotImplementedError as error:
            raise ValueError(f"Expected an autoencoder with tiling, but {kind} has none; leave `tiling` off.") from error
        warnings.warn(
            f"With `tiling`, {kind} codes images that are larger than its tile in parts, none of which sees the statistics of "
            "the whole image: latents solve the problem of the tiled codec, and are not those of the whole one.",
            stacklevel=4,
        )


class ClipDriver(Driver):
    """Code clips, as most autoencoders of videos do by themselves."""

    codes_clips = True


class StillDriver(Driver):
    """Code images as clips of one frame: AutoencoderKLQwenImage, AutoencoderKLHunyuanImageRefiner.

    An alpha channel, where there is one, is opaque, and left away in what is decoded: AutoencoderKLQwenImage21.
    """

    note = "An image is coded as a clip of one frame; an alpha channel is opaque."

    def encode(self, image: Tensor) -> Tensor:
        """Encode clips of one frame."""
        if self.model.config.get("in_channels") == 4:
            image = torch.cat([image, torch.ones_like(image[:, :1])], dim=1)
        return super().encode(image[:, :, None])[:, :, 0]

    def decode(self, latent: Tensor) -> Tensor:
        """Decode clips of one frame."""
        return super().decode(latent[:, :, None])[:, :3, 0]


class NoiseDriver(Driver):
    """Decode with the same noise for every image: ConsistencyDecoderVAE."""

    note = "Every image is decoded with the same noise."
    reads_values = True

    def decode(self, latent: Tensor) -> Tensor:
        """Decode each image with a generator of its own in the same state, on the CPU, so that all devices draw alike."""
        generators = [torch.Generator().manual_seed(0) for _ in latent]
        return self._sample(self.model.decode(latent, generator=generators))


class UnitDriver(Driver):
    """Code images of one size in ImageNet's normalisation, and give latents that are scaled already: AutoencoderRAE."""

    note = "Images have one size; latents are scaled already."

    def __init__(self, model: Any) -> None:
        """Take the autoencoder and its size."""
        super().__init__(model)
        config = model.config
        tokens = config["encoder_input_size"] // config["encoder_patch_size"]
        self.sizes = (int(tokens * config["patch_size"]),)

    def encode(self, image: Tensor) -> Tensor:
        """Encode pixels in [0, 1], which the class normalises and resizes itself."""
        (size,) = self.sizes
        if image.shape[-2:] != (size, size):
            height, width = image.shape[-2:]
            raise ValueError(f"Expected images of {size} x {size}, the only size of this codec, but got {height} x {width}.")
        return super().encode(image / 2 + 0.5)

    def decode(self, latent: Tensor) -> Tensor:
        """Decode to pixels in [-1, 1]."""
        return super().decode(latent) * 2 - 1

    def scaling(self, channels: int) -> Scaling:
        """Scale nothing twice."""
        del channels
        return Scaling()


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
        self.is_tiled = False
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
        self.is_tiled = True
        self.model.kernel, self.model.stride = self.tiles
        self.sizes = (self.tiles[0][1],)

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


DRIVERS: dict[str, type[Driver]] = {
    "ConsistencyDecoderVAE": NoiseDriver,
    "AutoencoderKLQwenImage": StillDriver,
    "AutoencoderKLQwenImage21": StillDriver,
    "AutoencoderKLHunyuanImageRefiner": StillDriver,
    "AutoencoderRAE": UnitDriver,
    "AutoencoderKLTemporalDecoder": SharedDecoderDriver,
    "AutoencoderKLCogVideoX": GroupedDriver,
    "AutoencoderKLHunyuanVideo15": SingleDriver,
    "AutoencoderKLAllegro": TiledDriver,
    "AutoencoderKLMagvit": CachingDriver,
    "AutoencoderVidTok": PaddingDriver,
    "AutoencoderKLLTXVideo": TimedDriver,
    "AutoencoderKLLTX2Video": TimedDriver,
    "AutoencoderKLMiniMaxH3": ImageNetDriver,
}
"""Drivers of the classes that need one of their own, by name, since an older diffusers lacks some of them."""


UNSUPPORTED: dict[str, str] = {
    **dict.fromkeys(
        (
            "AutoencoderKLKVAEAudio",
            "AutoencoderKLLTX2Audio",
            "AutoencoderKLMiniMaxH3Audio",
            "AutoencoderOobleck",
            "AutoencoderSAME",
            "Cosmos3AVAEAudioTokenizer",
            "LongCatAudioDiTVae",
            "MMAudioVAE",
        ),
        "it codes sound",
    ),
    "MMAudioVocoder": "it makes sound, and has no encoder",
    "MiniMaxMusic3Vocoder": "it makes sound, and has no encoder",
    "LTX2VideoDiffusionDecoderModel": "it decodes by diffusion, and has no encoder",
    "RFD4ProteinaAutoencoder": "it codes proteins",
}
"""Classes that code neither images nor clips, by name, and why."""


def driver_of(model: ModelMixin) -> Driver:
    """Give the driver of an autoencoder: its class's own; else clips where it has convolutions over time, or images."""
    over_time = any(isinstance(module, nn.Conv3d) for module in model.modules())
    return DRIVERS.get(type(model).__name__, ClipDriver if over_time else Driver)(model)
