"""The sample images of the package: scenes of the generator, drawn once and shipped as PNG.

They were made, and can be made again, by ``python -c "from decinv.data.shipped import draw; draw('DIRECTORY')"``.
"""

from pathlib import Path

from PIL import Image

from decinv.data.procedural import procedural_image

SAMPLES = Path(__file__).parent / "samples"
"""Directory of the sample images."""

SEED = 7000
"""Seed of the samples, which no training, validation or benchmark uses."""

SCENES = {3: 128, 7: 128, 12: 128, 17: 192, 20: 192, 28: 192}
"""Index in the generator's sequence of each sample, with its height and width in pixels."""


def file_name(index: int) -> str:
    """Name the file of a sample."""
    return f"scene-{index:02d}.png"


def draw(directory: str | Path) -> None:
    """Draw the samples into a directory, which is made where it does not exist.

    Args:
        directory: Where the files go; files of their names are replaced.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    for index, size in SCENES.items():
        pixels = ((procedural_image(index, size, SEED) + 1) * 127.5).round().byte()
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / file_name(index), optimize=True)
