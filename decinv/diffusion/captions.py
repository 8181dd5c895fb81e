"""The language of captioned scenes: a small fixed vocabulary, and the one sentence that it makes.

A caption lists one to three things from left to right and then the background::

    a red circle and a blue star on a striped white background
"""

import re
from collections.abc import Sequence

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
"""Colours of things and of backgrounds."""

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
"""Shapes of things."""

TEXTURES = ("plain", "striped", "dotted", "checkered")
"""Textures of backgrounds."""

MOST_THINGS = 3
"""Things in the longest caption."""

WORDS = ("a", "and", "on", "background", *COLOURS, *SHAPES, *TEXTURES)
"""Every word of the language."""

LONGEST = 4 * MOST_THINGS + 4
"""Words of the longest caption: a colour shape (and | on), and a texture colour background."""


def caption(things: Sequence[tuple[str, str]], texture: str, colour: str) -> str:
    """Describe a scene.

    Args:
        things: Colour and shape of one to ``MOST_THINGS`` things, from left to right.
        texture: Texture of the background.
        colour: Colour of the background.

    Returns:
        A sentence of at most ``LONGEST`` words of ``WORDS``.

    Raises:
        ValueError: If a word is not of the vocabulary, or there are too few or too many things.
    """
    if not 1 <= len(things) <= MOST_THINGS:
        raise ValueError(f"Expected 1 to {MOST_THINGS} `things`, but got {len(things)}.")
    words: list[tuple[str, tuple[str, ...]]] = [(name, COLOURS) for name in (colour, *(c for c, _ in things))]
    words += [*((shape, SHAPES) for _, shape in things), (texture, TEXTURES)]
    for word, known in words:
        if word not in known:
            raise ValueError(f"Expected one of {', '.join(known)}, but got {word!r}.")
    listed = " and ".join(f"a {name} {shape}" for name, shape in things)
    return f"{listed} on a {texture} {colour} background"


def unknown_words(text: str) -> list[str]:
    """Give the words of a text that are not of the language, in order; letters of either case are the same."""
    return [word for word in re.findall(r"[^\W_]+", text.lower()) if word not in WORDS]
