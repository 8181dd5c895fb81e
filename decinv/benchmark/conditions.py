"""What a benchmark on generated images runs on: codecs, images whose latents are known, and the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from decinv.batch import Batch
from decinv.codecs.autoencoder import load_codec
from decinv.codecs.base import Codec
from decinv.data.generated import generate
from decinv.dtypes import Dtype
from decinv.ranges import refuse_below


class Subject(NamedTuple):
    """A codec, with the images that it generated.

    Attributes:
        name: What tables call the codec: the last part of its path or hub id.
        codec: The codec, on the device to compute on.
        chunks: The images with their true latents, on that device too, in batches.
    """

    name: str
    codec: Codec
    chunks: list[Batch]


@dataclass(frozen=True)
class Conditions:
    """The options of that name, which several benchmarks share.

    Attributes:
        codecs: The codecs, at least one: ``bundled``, directories saved by diffusers, or hub ids.
        dtype: Number format of the codecs' arithmetic.
        device: Where to compute; ``None`` for ``cuda`` where there is one, else ``cpu``.
        count: Number of images, at least 2.
        size: Height and width of an image in pixels, a multiple of the codecs' strides.
        batch_size: Images that are inverted together, at least 1.
        seed: Seed of the images and of the perturbation of their latents, at least 0.
        perturbation: Size of that perturbation relative to the latents' standard deviation, at least 0.
        threads: Threads that torch computes with on the CPU, at least 1; ``None`` for torch's choice.
        pipeline: The diffusion model that the images come from; ``None`` where they do not.
    """

    codecs: Sequence[str]
    dtype: Dtype
    device: str | None
    count: int
    size: int
    batch_size: int
    seed: int
    perturbation: float
    threads: int | None
    pipeline: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges; codecs, images and device are checked by ``prepare``.

        Raises:
            ValueError: If an attribute is out of range.
        """
        if self.count < 2 or self.batch_size < 1 or (self.threads is not None and self.threads < 1):
            raise ValueError(
                "Expected `count` to be at least 2, `batch_size` and `threads` at least 1, "
                f"but got {self.count}, {self.batch_size} and {self.threads}."
            )
        refuse_below(0, seed=self.seed)
        if not self.codecs or len(set(self.names)) < len(self.codecs):
            raise ValueError(f"Expected `codecs` to be one or more, each of another name, but got {list(self.codecs)}.")

    @property
    def names(self) -> list[str]:
        """What tables call the codecs."""
        return [Path(codec).name for codec in self.codecs]

    def place(self) -> torch.device:
        """Give the device to compute on, once something could be put there.

        Raises:
            ValueError: If this machine has no such device.
        """
        name = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises the latter
            reason = str(error).splitlines()[0]
            raise ValueError(f"Expected `device` to name a device of this machine, but got {name!r}: {reason}") from error

    def begin(self) -> torch.device:
        """Set the threads, and give the device to compute on; see ``place``."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return self.place()

    def prepare(self) -> list[Subject]:
        """Begin, load all codecs and generate all images, so that what is wrong shows before anything is measured.

        Raises:
            FileNotFoundError: If there is no autoencoder where a codec should be.
            ValueError: If a codec, the device or an option of the images is none that can be used.
        """
        place = self.begin()
        subjects = []
        for name, path in zip(self.names, self.codecs, strict=True):
            codec = load_codec(path, self.dtype, place)
            subjects.append(Subject(name, codec, self.images(codec)))
        return subjects

    def images(self, codec: Codec) -> list[Batch]:
        """Generate a codec's images, in batches on its device.

        Raises:
            ValueError: If an option of the images is out of range.
        """
        return split(generate(codec, self.count, self.size, self.seed, self.perturbation), self.batch_size, codec.device)

    def phrase(self, device_name: str, dtypes: Sequence[str] = ()) -> str:
        """Say what was measured and where.

        Args:
            device_name: The model of the device.
            dtypes: Number formats that were compared; by default the one of these conditions.
        """
        plural = "s" if len(self.codecs) > 1 else ""
        formats = ", ".join(dtypes or [self.dtype])
        model = "" if self.pipeline is None else f"diffusion model {Path(self.pipeline).name}; "
        return (
            f"{self.count} generated images of {self.size} px (seed {self.seed}) in batches of {self.batch_size}; "
            f"{model}codec{plural} {', '.join(self.names)}; {formats}; "
            f"{device_name} ({self.place()}), threads: {torch.get_num_threads()}"
        )


def check_marks(marks: Sequence[int], option: str = "marks") -> None:
    """Check numbers of iterations after which to report.

    Args:
        marks: The numbers.
        option: Where they come from.

    Raises:
        ValueError: If there is none, or they are not increasing and at least 1.
    """
    if not marks or marks[0] < 1 or list(marks) != sorted(set(marks)):
        raise ValueError(f"Expected `{option}` to be increasing and at least 1, but got {list(marks)}.")


def split(batch: Batch, batch_size: int, device: torch.device) -> list[Batch]:
    """Cut generated images, with their latents, into chunks of at most ``batch_size`` on a device."""
    assert batch.latent is not None
    parts = zip(torch.split(batch.image, batch_size), torch.split(batch.latent, batch_size), strict=True)
    starts = range(0, len(batch.image), batch_size)
    return [
        Batch(image.to(device), batch.names[i : i + batch_size], latent.to(device))
        for i, (image, latent) in zip(starts, parts, strict=True)
    ]
