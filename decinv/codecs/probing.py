"""What shapes an autoencoder takes and gives, learnt by trying it out without computing."""

from typing import NamedTuple

import torch
from torch import Tensor

from decinv.codecs.driver import Driver
from decinv.codecs.frames import FrameRule, as_clips, as_frames
from decinv.errors import reason
from decinv.weights import without_content

MOST_FRAMES = 33
"""Frames of a clip with which a codec of clips is tried at most, where its rule is not what was guessed."""


TOO_SMALL = (RuntimeError, ValueError, IndexError, AssertionError)
"""What autoencoders raise where an image is too small for them."""


class Layout(NamedTuple):
    """What shapes an autoencoder takes and gives.

    Attributes:
        size: Height and width of the smallest image that was tried and fits, in pixels.
        stride: Pixels along one side of a latent cell.
        channels: Channels of a latent.
        frames: The numbers of frames that a codec of clips takes.
    """

    size: int
    stride: int
    channels: int
    frames: FrameRule | None


_TRIED: dict[tuple[object, ...], Layout] = {}
"""What was learnt before, by all that an autoencoder's shapes follow from: its driver, class and config, and tiling."""


@torch.no_grad()
def probe(driver: Driver, path: str) -> Layout:
    """Run images without content through an autoencoder, small ones with content if it must, and see what comes out.

    An autoencoder like one before is not tried again.

    Args:
        driver: Its driver.
        path: Where it came from, to name in an error.

    Raises:
        ValueError: If it codes no RGB image or clip, or none in tiles where these are switched on, with the reason, or cannot
            be tried out on the meta device.
    """
    if driver.reads_values and next(driver.model.parameters()).is_meta:
        kind = type(driver.model).__name__
        raise ValueError(f"Expected an autoencoder that works without content, as planning asks for, but got {kind}.")
    model = driver.model
    key = type(driver), type(model), driver.is_tiled, repr(sorted(model.config.items()))
    if key not in _TRIED:
        _TRIED[key] = _try(driver, path)
    return _TRIED[key]


def _try(driver: Driver, path: str) -> Layout:
    kind, what = type(driver.model).__name__, "clips of RGB frames" if driver.codes_clips else "single RGB images"
    remedy = "; leave `tiling` off" if driver.is_tiled else ""
    blank = driver if driver.reads_values else without_content(driver, driver.model, "meta")
    rule = driver.frame_rule() if driver.codes_clips else None
    problem = "it encodes no image"
    for size in driver.sizes:
        try:
            latent = _pass(blank, (size, size), None if rule is None else rule.first)
            if latent is None or not latent.shape[-1] or size % latent.shape[-1]:
                problem = f"it gives back another shape for {size} x {size} pixels"
                continue
            frames = None if rule is None else _frames(blank, size, rule, latent.shape[2])
            layout = Layout(size, size // latent.shape[-1], latent.shape[1], frames)
            if driver.is_tiled:
                _try_tiles(blank, layout)
            return layout
        except (TypeError, AttributeError, NotImplementedError) as error:
            problem = reason(error)
            break
        except TOO_SMALL as error:
            problem = reason(error)
    raise ValueError(f"Expected an autoencoder of {what} at {path!r}, but {kind} cannot code them ({problem}){remedy}.")


def _try_tiles(blank: Driver, layout: Layout) -> None:
    """Code images, or clips, that are larger than a tile.

    Raises:
        NotImplementedError: If they are given back in another shape, are encoded whole, or cannot be coded.
    """
    count = None if layout.frames is None else layout.frames.first + layout.frames.step
    parts: list[int] = []
    handle = blank.model.encoder.register_forward_pre_hook(lambda _, given: parts.append(max(given[0].shape[-2:])))
    for height, width in blank.beyond_tiles(layout.size, layout.stride):
        where = f"tiling fails for {height} x {width} pixels"
        try:
            latent = _pass(blank, (height, width), count)
        except TOO_SMALL as error:
            raise NotImplementedError(f"{where}: {reason(error)}") from error
        if latent is None or latent.shape[-2:] != (height // layout.stride, width // layout.stride):
            raise NotImplementedError(f"{where}, which come back in another shape")
        if max(parts) == max(height, width):
            raise NotImplementedError(f"{height} x {width} pixels are encoded whole with tiling, too")
    handle.remove()


def _frames(blank: Driver, size: int, guess: FrameRule, first: int) -> FrameRule:
    """Give the rule of frames: the guess, made finer where that works, if it holds for its second number, too."""
    second = _latents(blank, size, guess.first + guess.step)
    if second is None or second <= first:
        return _search(blank, size)
    finer, rest = divmod(guess.step, second - first)
    tries = (1, 3) if second > first + 1 and not rest else ()
    if tries and all(_latents(blank, size, guess.first + k * finer) == first + k for k in tries):
        return FrameRule(guess.first, finer, first, 1)
    return FrameRule(guess.first, guess.step, first, second - first)


def _search(blank: Driver, size: int) -> FrameRule:
    """Give the least numbers of frames that follow a rule."""
    found = {count: latents for count in range(1, MOST_FRAMES + 1) if (latents := _latents(blank, size, count)) is not None}
    for first, begin in found.items():
        for count, latents in found.items():
            rule = FrameRule(first, count - first, begin, latents - begin)
            if count > first and latents > begin and found.get(count + rule.step) == latents + rule.latent_step:
                return rule
    raise ValueError(f"it gives back other numbers of frames for clips of up to {MOST_FRAMES}")


def _latents(blank: Driver, size: int, count: int) -> int | None:
    """Give the latent frames of a clip; ``None`` if it cannot be coded, or is decoded to another shape."""
    try:
        latent = _pass(blank, (size, size), count)
    except TOO_SMALL:
        return None
    return None if latent is None else latent.shape[2]


def _pass(blank: Driver, size: tuple[int, int], count: int | None) -> Tensor | None:
    """Give the latent of an image, or a clip of ``count`` frames; ``None`` if it is decoded to another shape."""
    device = next(blank.model.parameters()).device
    shape = (1, 3, *size) if count is None else (1, 3, count, *size)
    image = torch.zeros(shape, device=device, dtype=blank.model.dtype)
    by_frames = count is not None and blank.encodes_frames
    latent = as_clips(blank.encode(as_frames(image)), count or 1) if by_frames else blank.encode(image)
    return latent if latent.ndim == image.ndim and blank.decode(latent).shape == image.shape else None
