"""The driver: the two maps of an autoencoder of diffusers as functions of tensors, whatever its class asks for."""

import inspect
from typing import Any, ClassVar

from torch import Tensor

from decinv.codecs.frames import FrameRule
from decinv.codecs.scaling import Scaling, scaling_of

SIZES = (64, 128, 256, 512)
"""Image sizes in pixels that are tried, in order, to learn an autoencoder's stride."""


class Driver:
    """Encode and decode images ``(B, 3, H, W)``; subclasses say what their autoencoders do otherwise.

    E is the mode of the posterior, or the latent itself where the encoder has no posterior; D is the decoder alone.

    Attributes:
        codes_clips: Whether it takes clips ``(B, 3, T, H, W)`` instead.
        encodes_frames: Whether a codec of clips encodes frames, as images, that no other frame takes part in.
        note: What users should know of it, one sentence for the table of classes.
        reads_values: Whether the host reads values back on the way, so that nothing is known without computing.
        sizes: Image sizes in pixels with which to try the autoencoder.
        is_tiled: Whether tiling was switched on.
    """

    codes_clips: ClassVar[bool] = False
    encodes_frames: ClassVar[bool] = False
    note: ClassVar[str] = ""
    reads_values: ClassVar[bool] = False

    def __init__(self, model: Any) -> None:
        """Take the autoencoder."""
        self.model = model
        self.sizes: tuple[int, ...] = SIZES
        self.is_tiled = False

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
        """Switch tiling on; refuse where the class has none."""
        switch = getattr(self.model, "enable_tiling", None)
        kind = type(self.model).__name__
        try:
            if switch is None or not inspect.ismethod(switch):
                raise NotImplementedError
            switch()
        except NotImplementedError as error:
            raise ValueError(f"Expected an autoencoder with tiling, but {kind} has none; leave `tiling` off.") from error
        self.is_tiled = True

    def beyond_tiles(self, size: int, stride: int) -> list[tuple[int, int]]:
        """Give heights and widths of images that are one latent cell higher, or wider, than a tile, to try tiling with.

        Args:
            size: The other side, in pixels.
            stride: Pixels along one side of a latent cell.

        Raises:
            NotImplementedError: If the class says nothing of its tiles, as one does of which only the switch is there.
        """
        known = vars(self.model)
        side = known.get("tile_sample_min_size")
        tile = known.get("tile_sample_min_height", side), known.get("tile_sample_min_width", side)
        if None in tile:
            raise NotImplementedError("there are no tiles")
        height, width = ((length // stride + 1) * stride for length in tile)
        return [(height, size), (size, width)]


class ClipDriver(Driver):
    """Code clips, as most autoencoders of videos do by themselves."""

    codes_clips = True
