"""What the images of a benchmark show where nothing else is asked for: a caption of its own for each."""

from itertools import count as counting
from itertools import product

from decinv.data.scenes import captioned_scene
from decinv.diffusion.bundled import BUNDLED

THINGS = (
    "a red fox",
    "an old bicycle",
    "a wooden boat",
    "a white horse",
    "a stone house",
    "a sleeping cat",
    "a bowl of fruit",
    "a yellow car",
    "a woman with an umbrella",
    "a brown dog",
)
"""What photographs show."""

PLACES = (
    "in a snowy forest",
    "on a sandy beach",
    "in a narrow street",
    "by a calm lake",
    "in front of a brick wall",
    "in a field of flowers",
    "under a cloudy sky",
    "at the foot of a mountain",
    "in a quiet garden",
    "on a bridge at night",
)
"""Where they show it."""


def default_prompts(pipeline: str, count: int) -> tuple[str, ...]:
    """Give a prompt for each image, in the language of a diffusion model.

    Args:
        pipeline: The model: the name of a bundled one, a directory, or a hub id.
        count: Number of prompts, at least 0.

    Returns:
        ``count`` different captions of scenes for a bundled model; for others at most as many of the 100 photographs of
        ``THINGS`` at ``PLACES``.
    """
    return scene_captions(count) if pipeline in BUNDLED else photographs()[:count]


def scene_captions(count: int, seed: int = 0) -> tuple[str, ...]:
    """Give the first different captions of a sequence of scenes, those that the bundled models were trained on or like them.

    Args:
        count: Number of captions, at least 0.
        seed: Seed of the scenes, at least 0; by default that of the scenes that training held out.
    """
    captions: dict[str, None] = {}
    numbers = counting()
    while len(captions) < count:
        captions[captioned_scene(next(numbers), 32, seed)[1]] = None
    return tuple(captions)


def photographs() -> tuple[str, ...]:
    """Give 100 captions of photographs, in an order in which neither thing nor place is the same twice in a row."""
    pairs = [
        (THINGS[index], PLACES[(index + turn) % len(PLACES)]) for turn, index in product(range(len(PLACES)), range(len(THINGS)))
    ]
    return tuple(f"a photograph of {thing} {place}" for thing, place in pairs)
