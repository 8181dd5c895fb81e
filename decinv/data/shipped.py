"""The sample images and the sample clips of the package: scenes of the generators, drawn once and shipped as PNG and MP4.

They were made, and can be made again, by ``python -c "from decinv.data.shipped import draw; draw('DIRECTORY')"``.
"""

from fractions import Fraction
from pathlib import Path

from PIL import Image

from decinv.data.moving import MovingScene
from decinv.data.procedural import procedural_image
from decinv.images.eight_bit import to_picture
from decinv.video.writing import PreviewVideo

SAMPLES = Path(__file__).parent / "samples"
"""Directory of the sample images."""

CLIPS = SAMPLES / "clips"
"""Directory of the sample clips."""

SEED = 7000
"""Seed of the samples, which no training, validation or benchmark uses."""

SCENES = {3: 128, 7: 128, 12: 128, 17: 192, 20: 192, 28: 192}
"""Index in the generator's sequence of each sample, with its height and width in pixels."""

MOVING = (5, 7)
"""Index of each sample clip in the sequence of moving scenes."""

CLIP_SIZE, CLIP_LENGTH, CLIP_FPS = 64, 32, 16
"""Height and width of the clips in pixels, their frames, and how many of them are shown a second."""


def file_name(index: int) -> str:
    """Name the file of a sample."""
    return f"scene-{index:02d}.png"


def clip_name(index: int) -> str:
    """Name the file of a sample clip."""
    return f"moving-{index:02d}.mp4"


def draw(directory: str | Path) -> None:
    """Draw the samples into a directory, which is made where it does not exist.

    Args:
        directory: Where the files go; files of their names are replaced.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for index, size in SCENES.items():
        Image.fromarray(to_picture(procedural_image(index, size, SEED))).save(folder / file_name(index), optimize=True)
    (folder / "clips").mkdir(exist_ok=True)
    for index in MOVING:
        scene = MovingScene(index, CLIP_SIZE, SEED)
        with PreviewVideo(folder / "clips" / clip_name(index)) as video:
            for number in range(CLIP_LENGTH):
                video.add(to_picture(scene.frame(number)), Fraction(number, CLIP_FPS))
