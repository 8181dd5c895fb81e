"""What tests share: one thread, seeded images, and tiny random autoencoders of diffusers saved to disk."""

import gc
import importlib.util
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

from decinv.codecs.tiny import INSTANCES, KL, make

MODELS: dict[str, Callable[[], diffusers.ModelMixin]] = {
    **{name: partial(make, name) for name in INSTANCES},
    "grey": lambda: diffusers.AutoencoderKL(in_channels=1, out_channels=1, **KL),
    "unet": lambda: diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=4,
        layers_per_block=1,
    ),
}


def pytest_configure(config: pytest.Config) -> None:
    """Let pass what third parties warn of in their own code."""
    for pattern in (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",  # Lightning 2.6 with torch 2.13
        r"Found \d+ module\(s\) in eval mode",  # Lightning; the codec is frozen on purpose
        r"You have overridden `transfer_batch_to_device`",  # Lightning; on purpose
        r"`torch.jit.script` is deprecated",  # torch 2.13's own forward-mode derivatives
        r"__array__ implementation doesn't accept a copy keyword",  # diffusers 0.42 with numpy 2.4
    ):
        config.addinivalue_line("filterwarnings", f"ignore:{pattern}")


def _freeze() -> None:
    """Leave what was imported, half a million objects, out of every later garbage collection; the package asks for many."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    """Look at no import again."""
    _freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the directory of a tiny random model of diffusers by its name in ``MODELS``, saved when first asked for."""
    root = tmp_path_factory.mktemp("models")

    def save(name: str) -> Path:
        if not (root / name).is_dir():
            with torch.random.fork_rng():
                torch.manual_seed(0)
                MODELS[name]().save_pretrained(root / name)
        return root / name

    return save


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pipelines() -> Any:
    """Give the module that makes tiny random pipelines, whose imports are slow."""
    module = _module("pipelines")
    _freeze()
    return module


@pytest.fixture(scope="session")
def _other_device() -> Any:
    return _module("other_device")


@pytest.fixture
def other_device(_other_device: Any) -> Iterator[torch.device]:
    """Give a device that refuses what a GPU refuses and computes on the CPU: ``elsewhere`` for the trainer."""
    with _other_device.OtherDevice():
        yield _other_device.DEVICE


@pytest.fixture(scope="session")
def saved_pipeline(pipelines: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Give directory and object of a tiny random pipeline by its name in ``pipelines.KINDS``, saved when first asked for."""
    made: dict[str, tuple[Path, Any]] = {}

    def save(kind: str) -> tuple[Path, Any]:
        if kind not in made:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                directory = tmp_path_factory.mktemp(kind)
                made[kind] = directory, pipelines.save(kind, directory)
        return made[kind]

    return save


@pytest.fixture
def images() -> Callable[..., Tensor]:
    """Give seeded images ``(count, 3, height, width)``, uniform in [-1, 1]."""

    def draw(count: int, height: int = 16, width: int = 16, seed: int = 0) -> Tensor:
        return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1

    return draw


FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mkv": ("ffv1", "bgr0", {}),
    ".avi": ("ffv1", "bgr0", {}),
    ".mp4": ("libx264rgb", "bgr24", {"qp": "0"}),
    ".webm": ("libvpx-vp9", "gbrp", {"lossless": "1", "cpu-used": "8"}),
}
"""Codec, pixel format and options that store RGB without loss, by a file's suffix."""


@pytest.fixture
def film() -> Callable[..., np.ndarray]:
    """Write a video with PyAV itself: ``film(path, pictures or their number, milliseconds=None)``; gives the pictures.

    Without pictures they are seeded noise of 12 x 20 pixels; they are shown every 40 ms. ``codec``, ``pixels``, ``layout``
    (that of the arrays) and ``options`` are those of ``FORMATS``, or others; ``container`` are options of the file, and further
    keywords attributes of stream and frames.
    """

    def write(
        path, pictures=8, milliseconds=None, codec=None, pixels=None, layout="rgb24", options=None, container=None, **tags
    ):
        default = FORMATS.get(Path(path).suffix, ("", "", {}))
        if isinstance(pictures, int):
            pictures = np.random.default_rng(pictures).integers(0, 256, (pictures, 12, 20, 3), dtype=np.uint8)
        times = range(0, 40 * len(pictures), 40) if milliseconds is None else milliseconds
        frames = [av.VideoFrame.from_ndarray(picture, format=layout) for picture in pictures]
        with av.open(str(path), "w", options=container or {}) as file:
            stream = file.add_stream(codec or default[0], rate=25, options=options or default[2])
            stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pixels or default[1]
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            for name, value in tags.items():
                for tagged in (stream.codec_context, *frames):
                    setattr(tagged, name, value)
            for frame, time in zip(frames, times, strict=True):
                frame.pts, frame.time_base = time, Fraction(1, 1000)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        return pictures

    return write


@pytest.fixture(autouse=True)
def _untouched_random_state() -> Iterator[None]:
    """Fail no other test by leaving torch's random state changed."""
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)
