"""The files of a run: tables of results, latents and reconstructions."""

import warnings
from typing import NamedTuple

import torch
from lightning import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from decinv.callbacks.base import Chunk, ChunkCallback
from decinv.callbacks.run import as_inversion, data_of, run_directory, share_of
from decinv.callbacks.worker import Worker
from decinv.data.indexed import IndexedData
from decinv.images.eight_bit import to_bytes
from decinv.memory import in_halves
from decinv.modules.base import Inversion
from decinv.rows import Row, image_psnr_db
from decinv.runs import Input, RunDirectory, merge, merge_if_complete
from decinv.runs.atomic import replacing
from decinv.runs.latents import noise_file, update_latents
from decinv.runs.names import safe_name

WAITING_CHUNKS = 4
"""Finished chunks that may wait to be written; the next one makes the solver wait."""


class ResultWriter(ChunkCallback):
    """Write tables, ``latents/`` and ``reconstructions/NAME.png`` into the run directory, beside the solving.

    A chunk's files are written when it is finished, each at once or not at all, and its rows after them; a thread does that
    while the next chunk is solved. A run that is continued keeps what it has. See ``decinv.runs.RunDirectory`` for the files.

    - ``tables/I-of-N.csv``: one row a sample that this process finished, with the columns of ``decinv.rows.Row``. A cell is
      empty where nothing is known; identical images have a PSNR of ``inf``, identical latents an NMSE of ``-inf``.
    - ``results.csv``: the rows of all processes in the order of the inputs, once all inputs are done; one process alone writes
      it whenever it ends.
    - Latents: one file a chunk, one tensor ``(C, h, w)``, or ``(C, t, h, w)`` of a clip, a sample by its name, raw, float32;
      the column ``latents`` names the file. Its metadata has the codec's path, scaling factor and shift, and under ``samples``
      each one's status, residual, height and width as JSON. Samples without a finite latent have none.
    - Noise, where samplers are inverted: the same in ``noise/``, in files of the same names.
    - Reconstructions: D(z) at 8 bits, without padding; of a clip that is one sample, each frame as NAME/00000.png. Folders in
      names are mirrored. A name that would lead out of the directory, or is no file name, is made one, with a hash of the name
      at its end.
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
        self._worker: Worker | None = None
        self._rows = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what the run directory holds, and begin.

        Raises:
            FileExistsError: If it holds a run that is not to be continued.
            ValueError: If there are several processes, and the data source does not divide its inputs among them.
            OSError: If it cannot be written.
        """
        data = data_of(trainer)
        indexed = data if isinstance(data, IndexedData) else None
        run = self._run = RunDirectory(run_directory(trainer))
        if indexed is None and trainer.world_size > 1:
            raise ValueError(
                f"Expected data that divides its inputs among {trainer.world_size} processes, an `IndexedData`, but got "
                f"{type(data).__name__}; set `trainer.devices` to 1."
            )
        if (indexed is None or indexed.run is None) and trainer.is_global_zero:
            for path in (run.results, run.input_file, run.path / "tables", run.path / "latents", run.path / "reconstructions"):
                if path.exists():
                    raise FileExistsError(f"Expected a run directory without results, but {path} exists; choose another --out.")
        self._share = share_of(trainer)
        self._is_done = (lambda number: False) if indexed is None else indexed.is_done
        self._next = 0
        self._own_list = indexed is None
        if indexed is not None:
            run.inputs(lambda: indexed.inputs)
            run.repair(self._share)
        run.append(self._share, [])
        self._worker = Worker("decinv-writer", WAITING_CHUNKS)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Remember where the chunk started; one that goes on in its middle has passed that point, so it is encoded again."""
        module = as_inversion(pl_module, self)
        solver, chunk = module.solver, module.batch
        if batch_idx == 0 and self.encoder_psnr and solver.last is not None and chunk is not None:
            started = solver.iteration == 1 and module.starts_at_encoder
            with trainer.precision_plugin.train_step_context():
                self._start = solver.last.point if started else module.codec.scaling.apply(module.codec.encode(chunk.image))

    def on_chunk_end(self, trainer: Trainer, pl_module: Inversion, chunk: Chunk) -> None:
        """Hand the chunk to the writing thread.

        Raises:
            OSError: If an earlier chunk could not be written.
        """
        encoder = self._encoder_psnr(pl_module, chunk)
        rows = [
            row._replace(encoder_psnr_db=value, number=row.number if row.number is not None else self._next + place)
            for place, (row, value) in enumerate(zip(chunk.rows, encoder, strict=True))
        ]
        self._next += len(rows)
        finished = _Finished(
            rows,
            chunk.result.latent.float().cpu(),
            to_bytes(chunk.reconstruction) if self.reconstructions else None,
            None if chunk.result.noise is None else chunk.result.noise.float().cpu(),
            [chunk.batch.size(index) for index in range(len(chunk.batch.names))],
            pl_module.codec.metadata(),
        )
        assert self._worker is not None
        self._worker.do(lambda: self._write(finished))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what waits, and the table of all processes if this one was the last.

        Raises:
            OSError: If a chunk could not be written.
        """
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what is finished."""
        try:
            self._close()
        except OSError as error:
            if not isinstance(exception, OSError):  # one full disk is told of once
                warnings.warn(f"What was finished last could not be written: {error}", stacklevel=2)

    def _close(self) -> None:
        if self._worker is None:
            return
        worker, self._worker = self._worker, None
        worker.close()
        run = self._run
        if self._own_list:
            run.inputs(lambda: (Input(number, row.name) for number, row in enumerate(run.rows())))
        if self._share.count > 1:
            merge_if_complete(run)
        else:
            merge(run)

    def _write(self, finished: "_Finished") -> None:
        """Write the files of a chunk, then its rows."""
        try:
            self._write_files(finished)
        except OSError as error:
            raise OSError(
                f"Expected to write results into {self._run.path}, but got: {error}. What is written is kept; run the same "
                f"command again with --out {self._run.path} to go on."
            ) from error

    def _write_files(self, finished: "_Finished") -> None:
        samples = finished.rows[: len(finished.latent)]
        usable = [index for index in range(len(samples)) if finished.latent[index].isfinite().all()]
        # A chunk of which a part was done is made anew as a whole; what there is from before this start stays.
        done = {row.name for row in finished.rows if row.number is not None and self._is_done(row.number)}
        if self.latents and usable:
            name = self._run.latents_file(samples[0].number or 0)
            details = {
                samples[i].name: {
                    "status": samples[i].status.name,
                    "residual": samples[i].residual,
                    "height": finished.sizes[i][0],
                    "width": finished.sizes[i][1],
                }
                for i in usable
            }
            latents = {samples[i].name: finished.latent[i] for i in usable}
            metadata = finished.metadata | ({} if finished.noise is None else {"noise": noise_file(name)})
            update_latents(self._run.path / name, latents, details, metadata, done)
            if finished.noise is not None:
                noise = {samples[i].name: finished.noise[i] for i in usable if finished.noise[i].isfinite().all()}
                update_latents(self._run.path / noise_file(name), noise, details, {}, done)
            for i in usable:
                finished.rows[i] = samples[i]._replace(latents=name)
        if finished.images is not None:
            for i in (i for i in usable if samples[i].name not in done):
                height, width = finished.sizes[i]
                self._write_pictures(safe_name(samples[i].name), finished.images[i, ..., :height, :width, :])
        self._run.append(self._share, [row for row in finished.rows if row.name not in done])

    def _write_pictures(self, name: str, pixels: Tensor) -> None:
        """Write an image ``(H, W, 3)``, or each frame of a clip ``(T, H, W, 3)``."""
        frames = {name: pixels} if pixels.ndim == 3 else {f"{name}/{place:05d}": frame for place, frame in enumerate(pixels)}
        for stem, picture in frames.items():
            with replacing(self._run.path / "reconstructions" / f"{stem}.png") as file:
                Image.fromarray(picture.numpy()).save(file, format="png")

    @torch.no_grad()
    def _encoder_psnr(self, module: Inversion, chunk: Chunk) -> list[float | None]:
        """Give the PSNR of D(E(x)) for each row.

        Where no step left E(x), the reconstruction is D(E(x)) already, unless it is sampled from noise.
        """
        values: list[float | None] = [None] * len(chunk.batch.names)
        if self._start is not None and values:
            latent = module.codec.scaling.invert(self._start)
            same = chunk.result.noise is None and torch.equal(latent, chunk.result.latent)
            with module.trainer.precision_plugin.train_step_context():
                images = chunk.reconstruction if same else in_halves(module.codec.decode, latent).clamp(-1, 1)
            values = image_psnr_db(chunk.batch, images)
        self._start = None
        return values + [None] * len(chunk.batch.failures)


class _Finished(NamedTuple):
    """What is written of a chunk: everything on the CPU."""

    rows: list[Row]
    latent: Tensor
    images: Tensor | None
    noise: Tensor | None
    sizes: list[tuple[int, int]]
    metadata: dict[str, str]
