"""The callback that edits the images of a run: it samples them anew under other prompts, from the noise that was recovered."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from PIL import Image
from rich import get_console
from torch import Tensor

from decinv.callbacks.base import Chunk, ChunkCallback
from decinv.callbacks.edit_rows import EditRow, merge_edit_rows, write_edit_rows
from decinv.callbacks.images import ERROR_GAIN, error, heading
from decinv.callbacks.inverted import Inverted, from_chunk, from_disk, unedited
from decinv.callbacks.run import data_of, log_image, observers_of, run_directory
from decinv.callbacks.sheet import SheetRow, draw_sheet
from decinv.callbacks.writer import ResultWriter
from decinv.data.indexed import IndexedData
from decinv.diffusion.denoiser import Guidance
from decinv.diffusion.prompt import Condition
from decinv.editing import EditMask, Negative, Source, blend, regenerate, to_pixels
from decinv.editing.regeneration import check_strength
from decinv.images.eight_bit import round_to_8_bits, to_picture
from decinv.memory import in_halves, is_out_of_memory
from decinv.metrics import ClipScore, background_nmse, background_psnr_db, background_ssim, lpips, nmse_db
from decinv.metrics.background import WINDOW
from decinv.metrics.perceptual import SMALLEST, check_lpips
from decinv.modules.base import Inversion
from decinv.modules.sampler import SamplerInversion
from decinv.ranges import refuse_below
from decinv.rows import known
from decinv.runs import RunDirectory
from decinv.runs.names import safe_name

NO_ROOM = "Editing it does not fit into memory; set the codec's `memory_mib` or `tiling`, or a 16-bit `dtype`."
"""Why an image has no edits where not even one fits."""


class Editing(ChunkCallback):
    """Edit each image of a run that inverts a sampler, once its noise is found.

    An image ``NAME`` gives ``edits/NAME.K.png``, the edit towards prompt K, ``edits/NAME.K.mask.png`` if there is a mask, and
    ``edits/NAME.sheet.png``: source and reconstruction, then each edit with where it was allowed and ten times the difference
    from the source. All edits of the run have their rows in ``edits.csv``. It stands before ``ResultWriter`` in the list of
    callbacks, so that a run that goes on after an interruption misses no edit. Images whose edits failed, or whose
    ``edits/NAME.csv`` was deleted, are edited from the noise on the disk when the run is started again.

    Attributes:
        failed: Whether an edit of this process came to nothing.
    """

    def __init__(
        self,
        prompts: list[str],
        guidance: float | None = None,
        mask: EditMask | None = None,
        negative: Negative | None = None,
        strength: float = 1.0,
        paste: bool = False,
        lpips: bool = False,
        clip: str | None = None,
    ) -> None:
        """Say what is edited, and how.

        Args:
            prompts: What the edited images show, one edit of each image for each prompt.
            guidance: Guidance scale of the edit, at least 0; null for that of the inversion.
            mask: Where images may change: ``PromptMask`` finds it, ``MaskFiles`` reads it; null for everywhere.
            negative: What guidance leads away from: ``SourcePrompt``, ``NullText``; null for what the inversion led away from.
            strength: Part of the sampler's steps that are taken anew, in (0, 1].
            paste: Whether to take the pixels outside the mask from the image itself; else they are decoded from latents, which
                are the recovered ones there, but pixels depend on other places of the latent too.
            lpips: Whether to measure LPIPS, whose network torchvision downloads.
            clip: A directory or hub id of the CLIP model that scores edits; null for no scores.

        Raises:
            ValueError: If an argument is out of range.
        """
        if not prompts:
            raise ValueError("Expected at least one of `prompts`, but got none.")
        refuse_below(0, guidance=guidance)
        check_strength(strength)
        if paste and mask is None:
            raise ValueError(
                "Expected `mask` with `paste`, which takes the pixels outside it from the image, but got none; set it."
            )
        self.prompts = prompts
        self.guidance = guidance
        self.mask = mask
        self.negative = negative
        self.strength = strength
        self.paste = paste
        self.lpips = lpips
        self.clip = clip
        self.failed = False
        self._score: ClipScore | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse modules that recover no noise, negative prompts without guidance, and a place behind ``ResultWriter``.

        Raises:
            TypeError: If ``pl_module`` inverts no sampler.
            ValueError: If there is a negative prompt, but no guidance, the sampler keeps pairs of points, or a ``ResultWriter``
                stands before this callback.
        """
        if not isinstance(pl_module, SamplerInversion):
            raise TypeError(f"Expected a `SamplerInversion`, which recovers noise, but got {type(pl_module).__name__}.")
        scale = pl_module.guidance if self.guidance is None else self.guidance
        pl_module.trajectory.refuse_pairs()
        if self.negative is not None and not scale > 1:
            raise ValueError(f"Expected `guidance` above 1, which leads away from `negative`, but got {scale}.")
        observers = observers_of(trainer)
        before = observers[: observers.index(self)] if self in observers else []
        if any(isinstance(other, ResultWriter) for other in before):
            raise ValueError(
                "Expected Editing before ResultWriter, so that an interrupted run misses no edit, but got it behind; move it."
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Encode the prompts before the network is loaded, for they are kept; and edit what earlier starts left unedited.

        Raises:
            ValueError: If no image has a mask, or a network that measures edits cannot be loaded.
            ModuleNotFoundError: If LPIPS is asked for without its extra.
        """
        self.failed = False
        if self.lpips:
            check_lpips()
        if self.clip is not None:
            self._score = ClipScore(self.clip)
        data = data_of(trainer)
        if self.mask is not None and isinstance(data, IndexedData):
            self.mask.check(item.name for item in data.inputs)
        if isinstance(pl_module, SamplerInversion):
            side = pl_module.codec.stride
            pl_module.pipeline.encode([*self.prompts, pl_module.negative_prompt], (side, side), pl_module.device)
            self._edit_left(trainer, pl_module)

    def on_chunk_end(self, trainer: Trainer, pl_module: Inversion, chunk: Chunk) -> None:
        """Edit the images of a chunk, one after the other, each towards as many prompts at once as fit into memory."""
        if not isinstance(pl_module, SamplerInversion):
            return
        for index, name in enumerate(chunk.batch.names):
            self._edit(trainer, pl_module, name, partial(from_chunk, pl_module, chunk, index))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the rows of all images together, in the order of their names, and say how many edits failed."""
        directory = run_directory(trainer)
        tally = merge_edit_rows(sorted((directory / "edits").rglob("*.csv")), directory / "edits.csv")
        if tally.failed and trainer.is_global_zero:
            why = f"{directory / 'edits.csv'} says why. Run the same command to try them again."
            get_console().print(
                f"{tally.failed} of {tally.total} edits failed; {why}", highlight=False, markup=False, soft_wrap=True
            )

    def _edit_left(self, trainer: Trainer, module: SamplerInversion) -> None:
        """Edit images that earlier starts inverted, from their noise on the disk, where edits failed or are gone."""
        data, run = data_of(trainer), RunDirectory(run_directory(trainer))
        if not isinstance(data, IndexedData) or data.run is None:
            return
        left = unedited(data, run, lambda name: _beside(_stem(trainer, name), ".csv"))
        possible = [(item, row) for item, row in left if row.latents]
        self.failed |= len(possible) < len(left)
        if possible and trainer.is_global_zero:
            get_console().print(f"Editing images again whose edits failed or are gone: {len(possible)}.", highlight=False)
        for item, row in possible:
            self._edit(trainer, module, row.name, partial(from_disk, module, data, run, item, row))

    def _edit(self, trainer: Trainer, module: SamplerInversion, name: str, find: Callable[[], Inverted]) -> None:
        """Edit an image, and write down its rows."""
        stem = _stem(trainer, name)
        stem.parent.mkdir(parents=True, exist_ok=True)
        try:
            inverted = find()
            rows = self._make_edits(trainer, module, inverted, self._source(module, inverted), stem)
        except (ValueError, RuntimeError, MemoryError) as error:
            if not isinstance(error, ValueError) and not is_out_of_memory(error):
                raise
            why = str(error) if isinstance(error, ValueError) else NO_ROOM
            rows = [EditRow(name, number, prompt, reason=why) for number, prompt in enumerate(self.prompts)]
            self.failed = True
        write_edit_rows(_beside(stem, ".csv"), rows)

    def _source(self, module: SamplerInversion, inverted: Inverted) -> Source:
        """Follow an image's trajectory from its noise.

        Raises:
            ValueError: If no noise was recovered.
        """
        row, noise = inverted.row, inverted.noise
        if noise is None:
            raise ValueError(f"Expected noise that {row.name!r} is sampled from, but none was found.")
        height, width = noise.shape[-2:]
        process = module.process([inverted.prompt], (height, width))
        size, trajectory = inverted.image.shape[-2:], tuple(process.walk(noise))
        return Source(row.name, inverted.number, (size[0], size[1]), module.codec.stride, process, trajectory)

    def _make_edits(
        self, trainer: Trainer, module: SamplerInversion, inverted: Inverted, source: Source, stem: Path
    ) -> list[EditRow]:
        """Make all edits of an image, and write their pictures."""
        process, device = source.process, source.latent.device
        scale = module.guidance if self.guidance is None else self.guidance
        guidance = Guidance(process.guidance.denoiser, scale)
        height, width = (side * source.stride for side in source.latent.shape[-2:])
        targets = module.pipeline.encode(self.prompts, (height, width), device)
        empty = module.pipeline.encode([module.negative_prompt], (height, width), device)
        negatives = [empty] * len(process.steps)
        if self.negative is not None:
            negatives = self.negative.prompts(process, source.trajectory, guidance, empty)
        every = torch.zeros(len(self.prompts), dtype=torch.long, device=device)
        conditions = [Condition(targets, negative.select(every)) for negative in negatives]
        mask = None if self.mask is None else self.mask.find(source, targets)

        def make(some: Tensor) -> Tensor:
            told, where = [condition.select(some) for condition in conditions], None if mask is None else mask[some]
            return regenerate(process, source.trajectory, guidance, told, where, self.strength)

        latent = in_halves(make, torch.arange(len(self.prompts), device=device))
        rows, wide = source.size
        edits = round_to_8_bits(_decode(module, latent))[..., :rows, :wide]
        image = inverted.image
        shown = None if mask is None else to_pixels(mask.cpu(), (height, width))[..., :rows, :wide]
        if self.paste and shown is not None:
            edits = blend(edits, image, shown)
        reconstruction = inverted.reconstruction
        if reconstruction is None:
            reconstruction = _decode(module, source.latent)[0, :, :rows, :wide]
        panels = {"source": image, "reconstruction": reconstruction, f"|error| x {ERROR_GAIN}": error(image, reconstruction)}
        picture = draw_sheet([SheetRow(heading(inverted.row), panels), *self._sheet_rows(image, edits, shown)])
        picture.save(_beside(stem, ".sheet.png"))
        log_image(trainer, f"edits/{source.name}", picture, source.number)
        for number, edit in enumerate(edits):
            _save(edit, _beside(stem, f".{number}.png"))
            if shown is not None:
                _save(shown[number].float().expand(3, -1, -1) * 2 - 1, _beside(stem, f".{number}.mask.png"))
        return self._rows(source, latent, mask, image.expand_as(edits), edits, shown)

    def _rows(
        self, source: Source, latent: Tensor, mask: Tensor | None, image: Tensor, edits: Tensor, shown: Tensor | None
    ) -> list[EditRow]:
        """Measure the edits of an image."""
        count = len(edits)
        empty: list[float | None] = [None] * count
        outside = 1.0 if mask is None else (~mask).float()
        background = outside * source.latent.expand_as(latent)
        shortest = min(image.shape[-2:])
        measures = (
            [1.0] * count if shown is None else shown.flatten(1).float().mean(1).tolist(),
            known(background_nmse(edits, image, shown)),
            known(background_psnr_db(edits, image, shown)),
            empty if shortest < WINDOW else known(background_ssim(edits, image, shown)),
            known(nmse_db(outside * latent, background)),
            known(lpips(edits, image)) if self.lpips and shortest >= SMALLEST else empty,
            empty if self._score is None else known(self._score(edits, self.prompts)),
        )
        return [
            EditRow(source.name, number, prompt, *values)
            for number, (prompt, *values) in enumerate(zip(self.prompts, *measures, strict=True))
        ]

    def _sheet_rows(self, image: Tensor, edits: Tensor, shown: Tensor | None) -> list[SheetRow]:
        """Give a row for each edit: the edit, the source darkened where nothing may change, and the difference.

        Its heading has the number that its files have in their names, for the font has not the letters of every prompt.
        """
        rows = []
        for number, prompt in enumerate(self.prompts):
            where = image if shown is None else torch.where(shown[number], image, (image + 1) * 0.2 - 1)
            part = "no mask" if shown is None else f"mask, {float(shown[number].float().mean()):.0%}"
            panels = {"edit": edits[number], part: where, f"|difference| x {ERROR_GAIN}": error(image, edits[number])}
            rows.append(SheetRow(f"{number}: {prompt or '(no prompt)'}", panels))
        return rows


@torch.no_grad()
def _decode(module: SamplerInversion, latent: Tensor) -> Tensor:
    """Give the images ``(B, 3, H, W)`` of scaled latents, clamped to [-1, 1], on the CPU."""
    return in_halves(module.codec.decode, module.codec.scaling.invert(latent)).clamp(-1, 1).float().cpu()


def _stem(trainer: Trainer, name: str) -> Path:
    """Give what the files of an image's edits have before their suffixes."""
    return run_directory(trainer) / "edits" / safe_name(name)


def _beside(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def _save(image: Tensor, path: Path) -> None:
    """Write an image ``(3, H, W)`` in [-1, 1] as 8-bit PNG."""
    Image.fromarray(to_picture(image)).save(path)
