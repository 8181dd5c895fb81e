"""Where an edit may change an image: found from the prompts, or given as image files."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from decinv.diffusion.noise import draw_noise
from decinv.diffusion.process import Process
from decinv.diffusion.prompt import Prompt
from decinv.editing.masks import difference_mask, grow
from decinv.editing.regeneration import check_strength, first_step
from decinv.editing.source import Source
from decinv.images.reading import SUFFIXES, read_image, read_size
from decinv.ranges import refuse_not_above

MASKS = 2
"""What sets the noise of masks apart from the noise that images are sampled from, with equal seeds too."""


class EditMask(ABC):
    """How the mask of an edit is found."""

    def check(self, names: Iterable[str]) -> None:
        """Refuse what can give no image a mask, before any is inverted; here nothing.

        Args:
            names: Names of the images of the run.
        """
        del names

    @abstractmethod
    def find(self, source: Source, targets: Prompt) -> Tensor:
        """Give the masks ``(K, 1, h, w)`` of edits towards ``K`` prompts, in latents, bool.

        Raises:
            ValueError: If there is none for this image.
        """


class PromptMask(EditMask):
    """Where the predictions under the prompts of source and edit differ; see ``decinv.editing.difference_mask``."""

    def __init__(
        self,
        strength: float = 0.5,
        draws: int = 10,
        ratio: float = 3.0,
        threshold: float = 0.5,
        margin: int = 1,
        seed: int = 0,
    ) -> None:
        """Set how masks are found; the defaults are DiffEdit's (arXiv 2210.11427), but for the margin.

        Args:
            strength: How much noise the predictions start from, as the part of the sampler's steps that remove it, in (0, 1].
            draws: Draws of noise that differences are averaged over, at least 1.
            ratio: Multiple of the mean difference at which differences are cut, above 0.
            threshold: What part of that counts as an edit, in [0, 1).
            margin: Latent cells by which the mask is grown, at least 0.
            seed: Seed of the noise.

        Raises:
            ValueError: If an argument is out of range.
        """
        check_strength(strength)
        if draws < 1 or margin < 0 or seed < 0:
            raise ValueError(
                f"Expected `draws` to be at least 1, `margin` and `seed` at least 0, but got {draws}, {margin} and {seed}."
            )
        refuse_not_above(0, ratio=ratio)
        if not 0 <= threshold < 1:
            raise ValueError(f"Expected `threshold` in [0, 1), but got {threshold}.")
        self.strength = strength
        self.draws = draws
        self.ratio = ratio
        self.threshold = threshold
        self.margin = margin
        self.seed = seed

    def find(self, source: Source, targets: Prompt) -> Tensor:
        """Compare the predictions; each image has noise of its own."""
        rows = torch.zeros(len(targets.embedding), dtype=torch.long, device=source.latent.device)
        prompts = source.process.condition.prompt.select(rows), targets
        return self.compare(source.process, *prompts, source.latent[rows], [source.number] * len(rows))

    @torch.no_grad()
    def compare(self, process: Process, source: Prompt, target: Prompt, latent: Tensor, numbers: list[int]) -> Tensor:
        """Give the masks ``(B, 1, h, w)`` of edits from one prompt to another.

        Guidance would only scale the differences, so there is none.

        Args:
            process: Has the network and the steps.
            source: Prompts of the images.
            target: Prompts of the edits.
            latent: Scaled latents ``(B, C, h, w)`` of the images.
            numbers: Seeds of the noise of each.
        """
        step = process.steps[first_step(len(process.steps), self.strength)]
        shape = (self.draws, *latent.shape[1:])
        noise = torch.stack([draw_noise(shape, self.seed, number, MASKS) for number in numbers], dim=1).to(latent.device)
        time = latent.new_full((2 * len(latent),), step.time)
        pairs = []
        for draw in noise:
            point = (step.start.alpha * latent + step.start.sigma * draw) / step.scale
            output = process.guidance.denoiser.predict(torch.cat([point, point]), time, source.join(target))
            pairs.append(output.chunk(2))
        before, after = (torch.stack(part) for part in zip(*pairs, strict=True))
        return grow(difference_mask(before, after, self.ratio, self.threshold), self.margin)


class MaskFiles(EditMask):
    """Masks that are image files: what is lighter than mid-grey is edited, and with it the whole latent cell that it is in."""

    def __init__(self, path: str) -> None:
        """Say where they are.

        Args:
            path: An image file for all images, or a directory with a file of each image's name: as it is, with ``.png`` behind
                it, or with ``.png`` in the place of an image format's suffix.

        Raises:
            FileNotFoundError: If there is neither.
        """
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"Expected `path` to be an image file or a directory of masks, but there is no {path}.")

    def check(self, names: Iterable[str]) -> None:
        """Look for the files; warn of images without one.

        Raises:
            ValueError: If the only file is no image, or no image has a file.
        """
        if self.path.is_file():
            read_size(self.path)
            return
        every = list(names)
        missing = [name for name in every if self._file(name) is None]
        if not missing:
            return
        found = f"{len(missing)} of {len(every)} have none, {missing[0]!r} first"
        if len(missing) == len(every):
            raise ValueError(f"Expected a mask for each image in {self.path}, but {found}; add them.")
        warnings.warn(f"Expected a mask for each image in {self.path}, but {found}; their edits will fail.", stacklevel=2)

    def find(self, source: Source, targets: Prompt) -> Tensor:
        """Read the mask of the image.

        Raises:
            ValueError: If it has none, or it cannot be read, or it is of another size.
        """
        file = self._file(source.name)
        if file is None:
            raise ValueError(f"Expected a mask of {source.name!r} in {self.path}, but there is no file of that name.")
        pixels = read_image(file)
        if tuple(pixels.shape[1:]) != source.size:
            (height, width), found = source.size, " x ".join(map(str, pixels.shape[1:]))
            raise ValueError(f"Expected a mask of {height} x {width} pixels for {source.name!r}, but got {found}.")
        edited = (pixels.mean(0) > 0).float()
        height, width = (side * source.stride for side in source.latent.shape[-2:])
        padded = functional.pad(edited, (0, width - source.size[1], 0, height - source.size[0]))
        cells = functional.max_pool2d(padded[None, None], source.stride) > 0
        return cells.to(source.latent.device).expand(len(targets.embedding), -1, -1, -1)

    def _file(self, name: str) -> Path | None:
        if self.path.is_file():
            return self.path
        files = [self.path / name, self.path / f"{name}.png"]
        if files[0].suffix.lower() in SUFFIXES:
            files.append(files[0].with_suffix(".png"))
        return next((file for file in files if file.is_file()), None)
