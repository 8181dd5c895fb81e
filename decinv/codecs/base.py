"""The codec: the autoencoder whose decoder is inverted."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor

from decinv.codecs.budget import MemoryBudget
from decinv.codecs.frames import FrameRule, as_clips, as_frames
from decinv.codecs.scaling import Scaling
from decinv.errors import reason
from decinv.frozen import Frozen

ROUNDING = 1e-5
"""Part of its length by which the same output may differ from one time to the next, as sums in another order do."""


class Codec(Frozen, ABC):
    """A frozen, deterministic pair of maps between images, or clips of frames, and raw latents.

    A codec of images takes clips too, frame by frame: then no frame depends on another one. A codec of clips has ``frames``.

    Subclasses set at least ``stride`` and ``latent_channels``, in the class or in a constructor that begins with
    ``super().__init__()``, and define ``_encode`` and ``_decode``: from images ``(B, 3, H, W)`` in [-1, 1] to raw latents
    ``(B, C, H / stride, W / stride)`` and back, in any number format, row by row, without anything random, and without writing
    to what they get. Pixels that come from latents may be beyond [-1, 1]: those of D(z) where nothing ``clamps`` them, and
    those of the images near which E answers, see ``decinv.problems.DecoderProblem``. Callers use ``encode`` and ``decode``,
    which check shapes and always give float32.

    Attributes:
        stride: Pixels along one side of a latent cell, along height and width alike; sides of images are multiples of it.
        latent_channels: Channels of a latent.
        scaling: The affine map to the diffusion model's space.
        clamps: Whether the images that come from latents are D(z) clamped to [-1, 1], as those of 8 bits are.
        frames: The numbers of frames that a codec of clips takes; ``None`` for a codec of images.
        budget: The memory within which rows are coded at once, on any device: parts of them are moved to the codec's, and the
            results back. ``None`` where all rows are coded at once, on the codec's device.
        proven: Whether its maps were tried out and found deterministic.
        path: Where it was loaded from; empty where it was not.
        patch: Side of the squares of latent cells that a network behind the codec sees as one; data fit images to whole ones.
    """

    stride: int
    latent_channels: int
    scaling: Scaling = Scaling()
    clamps: bool = False
    frames: FrameRule | None = None
    budget: MemoryBudget | None = None
    proven: bool = False
    path: str = ""
    patch: int = 1

    @property
    def multiple(self) -> int:
        """Pixels that data fit the sides of images to multiples of."""
        return self.stride * self.patch

    @property
    def device(self) -> torch.device:
        """Where the codec computes: where its weights and buffers are, or on the CPU if it has none."""
        tensor = next(chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if tensor is None else tensor.device

    @property
    def rounding(self) -> float:
        """Relative error of rounding to the numbers that it computes in, ``torch.finfo(...).eps``: the coarsest of its weights.

        Where it is coarse, small pixel errors are magnified before E sees them, see ``decinv.problems.DecoderProblem``.
        """
        kinds = {tensor.dtype for tensor in chain(self.parameters(), self.buffers()) if tensor.is_floating_point()}
        return max((torch.finfo(kind).eps for kind in kinds), default=torch.finfo(torch.float32).eps)

    def metadata(self) -> dict[str, str]:
        """Say, in a file of latents, what they are latents of."""
        return {"codec": str(self.path), "scaling_factor": repr(self.scaling.factor), "shift_factor": repr(self.scaling.shift)}

    @abstractmethod
    def _encode(self, image: Tensor) -> Tensor: ...

    @abstractmethod
    def _decode(self, latent: Tensor) -> Tensor: ...

    def encode(self, image: Tensor) -> Tensor:
        """Give the raw latent E(x): the mode of the posterior, so that the same image always gives the same latent.

        Args:
            image: Images ``(B, 3, H, W)`` or clips ``(B, 3, T, H, W)`` in [-1, 1].

        Returns:
            Latents ``(B, C, H / stride, W / stride)`` or ``(B, C, t, H / stride, W / stride)``, float32. A codec of images
            gives a clip t = T latent frames, one of clips gives ``frames.latents(T)``.

        Raises:
            ValueError: If the shape is another one, a side is no multiple of the stride, no clip may have T frames, or
                ``_encode`` gives another shape.
        """
        if image.ndim not in self._dimensions or image.shape[1] != 3:
            raise ValueError(f"Expected {self._shapes(3, 'T, H, W', 'images')}, but got {tuple(image.shape)}.")
        times = [(self.frames or FrameRule()).latents(image.shape[2])] if image.ndim == 5 else []
        height, width = image.shape[-2:]
        if height % self.stride or width % self.stride or not height or not width:
            fits = " x ".join(str(max(1, round(v / self.stride)) * self.stride) for v in (height, width))
            raise ValueError(
                f"Expected image sides that are multiples of {self.stride}, but got {height} x {width}, which the codec "
                f"would silently crop; pad or crop to {fits}, say."
            )
        shape = (len(image), self.latent_channels, *times, height // self.stride, width // self.stride)
        if not len(image):
            return image.new_zeros(shape, dtype=torch.float32)
        return self._checked(self._encode, image, self.encodes_frames, shape, "_encode")

    def decode(self, latent: Tensor) -> Tensor:
        """Give the image D(z), not clamped.

        Args:
            latent: Raw latents ``(B, C, h, w)`` of images or ``(B, C, t, h, w)`` of clips.

        Returns:
            Images ``(B, 3, h * stride, w * stride)`` or clips ``(B, 3, T, h * stride, w * stride)``, float32.

        Raises:
            ValueError: If the shape is another one, no clip has t latent frames, or ``_decode`` gives another shape.
        """
        if latent.ndim not in self._dimensions or latent.shape[1] != self.latent_channels:
            shapes = self._shapes(self.latent_channels, "t, h, w", "latents")
            raise ValueError(f"Expected {shapes}, but got {tuple(latent.shape)}.")
        times = [(self.frames or FrameRule()).frames(latent.shape[2])] if latent.ndim == 5 else []
        shape = (len(latent), 3, *times, *(side * self.stride for side in latent.shape[-2:]))
        if not len(latent):
            return latent.new_zeros(shape, dtype=torch.float32)
        return self._checked(self._decode, latent, self.frames is None, shape, "_decode")

    def picture(self, latent: Tensor) -> Tensor:
        """Give the image that a latent stands for: D(z), clamped to [-1, 1] where the codec ``clamps``.

        Args:
            latent: Raw latents, as for ``decode``.

        Returns:
            What ``decode`` gives, clamped.

        Raises:
            ValueError: If the shape is another one, or no clip has so many latent frames.
        """
        decoded = self.decode(latent)
        return decoded.clamp(-1, 1) if self.clamps else decoded

    def check(self) -> None:
        """Refuse a subclass that has not set its attributes.

        Raises:
            ValueError: If ``stride`` or ``latent_channels`` is missing or no whole number of at least 1, or the constructor of
                this class did not run.
        """
        if "_modules" not in vars(self):
            raise ValueError(
                f"Expected the constructor of {type(self).__name__} to call `super().__init__()` first, but it did not."
            )
        for name in ("stride", "latent_channels"):
            value = getattr(self, name, None)
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"Expected {type(self).__name__} to set `{name}` to a whole number of at least 1, but got "
                    f"{value}; see `decinv.codecs.Codec`."
                )

    @torch.no_grad()
    def try_out(self, image: Tensor) -> None:
        """Code one image, or clip, twice the first time that this is called; inversions do so before they begin.

        Where a map refuses it, nothing is said: the inversion will meet that again, and has results for the other images.

        Args:
            image: Images or clips, as for ``encode``; the first one, or its first frame, is coded.

        Raises:
            ValueError: If that gives two results, as a sample of the posterior does, or changes the image or the latent.
        """
        if self.proven or not len(image):
            return
        rows = as_frames(image[:1])[:1] if self.frames is None and image.ndim == 5 else image[:1]
        for name, work, remedy in (
            ("_encode", self.encode, "a posterior's mode"),
            ("_decode", self.decode, "an image without noise"),
        ):
            before = rows.clone()
            try:
                once = work(rows).clone()  # a codec may write each output to the same memory
                again = work(rows)
            except (RuntimeError, ValueError, MemoryError):
                return
            if not torch.equal(rows.nan_to_num(), before.nan_to_num()):
                raise ValueError(self._wrote(name))
            size, change = (float(torch.linalg.vector_norm(part.nan_to_num())) for part in (once, once - again))
            if change > ROUNDING * size:
                raise ValueError(
                    f"Expected `{name}` of {type(self).__name__} to be deterministic, but it gives another result for the same "
                    f"input, {change / size:.2g} of its length away; let it give {remedy}, and nothing that is random."
                )
            rows = once
        self.proven = True

    @torch.no_grad()
    def refusal(self, image: Tensor) -> str | None:
        """Say in a half-sentence why images, or clips, are not coded there and back, such as ``cannot decode it: ...``.

        Args:
            image: Images or clips, as for ``encode``.

        Returns:
            The half-sentence; ``None`` if they are coded.
        """
        work = "encode"
        try:
            latent = self.encode(image)
            work = "decode"
            self.decode(latent)
        except (RuntimeError, ValueError) as error:
            return f"cannot {work} it: {reason(error)}"
        return None

    def _wrote(self, name: str) -> str:
        kind = type(self).__name__
        return f"Expected `{name}` of {kind} to leave its input as it is, but it wrote to it; let it work on a copy."

    def _checked(
        self, work: Callable[[Tensor], Tensor], rows: Tensor, by_frames: bool, shape: tuple[int, ...], name: str
    ) -> Tensor:
        """Give what one of a subclass's maps comes to, if it keeps what it gets and its attributes promise that shape."""
        if self.training:  # the subclass has left ``freeze`` out
            self.freeze()
        version = None if rows.is_inference() else rows._version
        output: object = _run(work, rows, by_frames)
        if version is not None and rows._version != version:
            raise ValueError(self._wrote(name))
        if not isinstance(output, Tensor) or output.is_complex():
            found = str(output.dtype) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"Expected `{name}` of {type(self).__name__} to give a tensor of real numbers, but got {found}.")
        if output.shape != shape:
            raise ValueError(
                f"Expected `{name}` of {type(self).__name__} to give shape {shape}, but got {tuple(output.shape)}; correct it, "
                f"or the codec's `stride` {self.stride} or `latent_channels` {self.latent_channels}."
            )
        return output.float()

    @property
    def encodes_frames(self) -> bool:
        """Whether clips are encoded frame by frame, so that ``_encode`` takes images."""
        return self.frames is None

    @property
    def _dimensions(self) -> tuple[int, ...]:
        return (4, 5) if self.frames is None else (5,)

    def _shapes(self, channels: int, rest: str, name: str) -> str:
        """Name the shapes that the codec takes."""
        clip = f"(B, {channels}, {rest})"
        if self.frames is not None:
            return f"{name} of clips with shape {clip}"
        return f"{name} with shape (B, {channels}, {rest[3:]}), or of clips {clip}"


def _run(work: Callable[[Tensor], Tensor], rows: Tensor, by_frames: bool) -> Tensor:
    """Apply a map to rows, or to the frames of clips."""
    if not by_frames or rows.ndim == 4:
        return work(rows)
    return as_clips(work(as_frames(rows)), rows.shape[2])
