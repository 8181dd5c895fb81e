"""The files of a run: the table of results, the latents and the reconstructions."""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath

import torch
from lightning import LightningModule, Trainer
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from decinv.callbacks.base import Chunk, ChunkCallback
from decinv.callbacks.run import as_inversion, run_directory
from decinv.modules.base import Inversion
from decinv.rows import Row, image_psnr_db

LONGEST_NAME = 200
"""Bytes that a file's name may have, of the 255 that common file systems take."""


class ResultWriter(ChunkCallback):
    """Write ``results.csv``, ``latents/NAME.safetensors`` and ``reconstructions/NAME.png`` into the run directory.

    A sample's files are written when its chunk is finished, each at once or not at all, and its row after them. Folders in
    names are mirrored. A name that would lead out of the directory, or is no file name, is made one, with a hash of the
    name at its end.

    - ``results.csv``: one row a sample, with the columns of ``decinv.rows.Row``. A cell is empty where nothing is known;
      identical images have a PSNR of ``inf``, identical latents an NMSE of ``-inf``.
    - Latents: the tensor ``latent`` ``(C, h, w)``, raw, float32; its metadata has the name, status, residual, the codec's
      path, scaling factor and shift, and the image's height and width. Samples without a finite latent have no files.
    - Reconstructions: D(z) at 8 bits, without padding.
    """

    def __init__(self, latents: bool = True, reconstructions: bool = True, encoder_psnr: bool = True) -> None:
        """Choose what is written beside the table.

        Args:
            latents: Whether to write the latents.
            reconstructions: Whether to write the reconstructions.
            encoder_psnr: Whether to fill the column ``encoder_psnr_db``, the PSNR of D(E(x)); it takes one decode a chunk.
        """
        self.latents = latents
        self.reconstructions = reconstructions
        self.encoder_psnr = encoder_psnr
        self._start: Tensor | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Create the table with its header.

        Raises:
            FileExistsError: If the run directory holds results already.
            ValueError: If there is more than one process.
        """
        if trainer.world_size > 1:
            raise ValueError(
                f"Expected one process to write results, but got {trainer.world_size}; set `trainer.devices` to 1."
            )
        self._directory = run_directory(trainer)
        for path in (self._table, self._directory / "latents", self._directory / "reconstructions"):
            if path.exists():
                raise FileExistsError(f"Expected a run directory without results, but {path} exists; choose another --out.")
        self._directory.mkdir(parents=True, exist_ok=True)
        self._append([Row._fields])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Remember where the chunk started."""
        if batch_idx == 0 and self.encoder_psnr:
            last = as_inversion(pl_module, self).solver.last
            self._start = None if last is None else last.point

    def on_chunk_end(self, trainer: Trainer, pl_module: Inversion, chunk: Chunk) -> None:
        """Write the files of each sample, then the rows."""
        path = str(getattr(pl_module.codec, "path", ""))
        scaling = pl_module.codec.scaling
        images = _to_8_bit(chunk.reconstruction)
        for index, (name, latent) in enumerate(zip(chunk.batch.names, chunk.result.latent.float().cpu(), strict=True)):
            if not latent.isfinite().all():
                continue
            height, width = chunk.batch.size(index)
            if self.latents:
                metadata = {
                    "name": name.encode("utf-8", "backslashreplace").decode("utf-8"),
                    "status": chunk.result.status[index].name,
                    "residual": repr(float(chunk.result.residual[index])),
                    "codec": path,
                    "scaling_factor": repr(scaling.factor),
                    "shift_factor": repr(scaling.shift),
                    "height": str(height),
                    "width": str(width),
                }
                with _replacing(self._directory / "latents" / f"{safe_name(name)}.safetensors") as file:
                    save_file({"latent": latent.contiguous()}, file, metadata)
            if self.reconstructions:
                with _replacing(self._directory / "reconstructions" / f"{safe_name(name)}.png") as file:
                    Image.fromarray(images[index, :height, :width].numpy()).save(file, format="png")
        encoder = self._encoder_psnr(pl_module, chunk)
        rows = [row._replace(encoder_psnr_db=value) for row, value in zip(chunk.rows, encoder, strict=True)]
        self._append([[_cell(value) for value in row] for row in rows])

    @property
    def _table(self) -> Path:
        return self._directory / "results.csv"

    def _append(self, lines: Sequence[Sequence[str]]) -> None:
        with self._table.open("a", newline="", encoding="utf-8", errors="backslashreplace") as file:
            csv.writer(file).writerows(lines)
            file.flush()
            os.fsync(file.fileno())

    @torch.no_grad()
    def _encoder_psnr(self, module: Inversion, chunk: Chunk) -> list[float | None]:
        """Give the PSNR of D(E(x)) for each row; where no step left E(x), the reconstruction is D(E(x)) already."""
        values: list[float | None] = [None] * len(chunk.batch.names)
        if self._start is not None and values:
            latent = module.codec.scaling.invert(self._start)
            images = (
                chunk.reconstruction if torch.equal(latent, chunk.result.latent) else module.codec.decode(latent).clamp(-1, 1)
            )
            values = image_psnr_db(chunk.batch, images)
        self._start = None
        return values + [None] * len(chunk.batch.failures)


def safe_name(name: str) -> str:
    """Give a relative path below the current directory for a sample's name: the name itself wherever it is one.

    Args:
        name: Any text; ``/`` separates folders.

    Returns:
        ``name``, or a name that is changed where needed and ends with the first 8 digits of the name's SHA-256, so that
        different names stay different.
    """
    parts = [part for part in PurePosixPath(name.replace("\0", "")).parts if part not in ("/", "//", "..")]
    parts = [part.encode("utf-8", "replace")[:LONGEST_NAME].decode("utf-8", "ignore") for part in parts]
    safe = "/".join(parts)
    if safe == name and safe:
        return name
    return f"{safe or 'sample'}-{sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; what is written there takes the place of ``path`` when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _to_8_bit(images: Tensor) -> Tensor:
    """Map images ``(B, 3, H, W)`` in [-1, 1] to bytes ``(B, H, W, 3)`` on the CPU."""
    return ((images.nan_to_num(-1.0).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return getattr(value, "name", None) or str(value)
