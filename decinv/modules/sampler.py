"""From images to the noise that a diffusion model makes them from."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from decinv.batch import Batch
from decinv.codecs.base import Codec
from decinv.course import Course, CourseSolver
from decinv.diffusion.conditioned import check_range, conditioned
from decinv.diffusion.pipeline import Pipeline
from decinv.diffusion.process import Process
from decinv.diffusion.sampler import DDIM, Sampler, Trajectory
from decinv.memory import in_halves
from decinv.methods.base import Method
from decinv.methods.whole import ExactInversion
from decinv.metrics.latent import nmse_db
from decinv.modules.base import Inversion
from decinv.modules.first_latent import DecodedLatent, FirstLatent
from decinv.problems.base import Problem
from decinv.result import Result
from decinv.status import Status

ELSEWHERE_DB = -20.0
"""NMSE in dB above which the latent that is sampled from recovered noise is said to be another."""


class SamplerInversion(Inversion):
    """Invert the decoder, and then the sampler step by step, up to the noise (Hong et al., CVPR 2024, arXiv 2311.18387).

    A training step is one update of all samples of the chunk, on the problem that they are at; they go on to the next problem
    together. Reported are the latents, the noise in ``noise``, and as reconstructions the images sampled from the noise.
    """

    may_be_on_host = False  # the networks take latents on their own device

    def __init__(
        self,
        codec: Codec,
        pipeline: Pipeline,
        sampler: Sampler | None = None,
        method: Method | None = None,
        decoder: FirstLatent | None = None,
        guidance: float = 3.0,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        noise_seed: int = 0,
    ) -> None:
        """Combine codec, diffusion model, sampler and method.

        Args:
            codec: The codec of the diffusion model.
            pipeline: The diffusion model.
            sampler: The sampler that is inverted; by default DDIM with 50 steps.
            method: How its steps are inverted; by default exactly.
            decoder: Where the latents come from; by default from decoder inversion.
            guidance: Guidance scale, at least 0; up to 1 there is none, as in diffusers.
            prompt: The prompt of all images; null for those that the data know, or else the empty one.
            negative_prompt: What guidance leads away from; null for what the pipeline takes if no prompt is given.
            noise_seed: Seed of the noise that ancestral samplers add in each step, the same for each image.

        Raises:
            ValueError: If an argument is out of range.
        """
        check_range(guidance, noise_seed)
        method = method or ExactInversion()
        super().__init__(codec, method.update, method.stopping)
        codec.patch = pipeline.patch
        self.pipeline = pipeline
        self.sampler = sampler or DDIM()
        self.method = method
        self.decoder = decoder or DecodedLatent()
        self.guidance = guidance
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.noise_seed = noise_seed
        self.starts_at_encoder = self.decoder.starts_at_encoder
        self.course = CourseSolver(self.solver, self.decoder.solver(self.latent))
        self.solver = self.course
        self._process: Process | None = None
        self._found: Tensor | None = None
        self._departure: list[float] = []

    @property
    def trajectory(self) -> Trajectory:
        """The sampler's steps, for images of any size."""
        return self.pipeline.trajectory(self.sampler)

    @property
    def max_iters(self) -> int:
        """Training steps that a chunk takes at most."""
        problems = self.method.problems(self.trajectory)
        first = self.decoder.stopping.longest if self.starts_at_encoder else 0
        return first + problems * self.method.stopping.longest

    @property
    def truth(self) -> Tensor | None:
        """Nothing: points are latents, and then something else."""
        return None

    def setup(self, stage: str) -> None:
        """Refuse a method that cannot invert the sampler, or a codec of other latents, before anything is computed.

        Raises:
            ValueError: If it cannot, or for the reasons of every inversion.
        """
        super().setup(stage)
        self.pipeline.refuse_codec(self.codec)
        self.method.check(self.trajectory)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Hand the rules of decoder and sampler to the trainer, which counts their steps together."""
        rules = [solver.rule for solver in self.course.solvers]
        return rules if self.starts_at_encoder else rules[1:]

    def problem(self, image: Tensor) -> Problem:
        """State the first problem."""
        return self.decoder.problem(self.codec, image)

    def process(self, prompts: Sequence[str], cells: tuple[int, int]) -> Process:
        """Give the forward process of prompts for latents of ``cells`` (height and width)."""
        options = self.guidance, self.negative_prompt, self.noise_seed, self.device
        return conditioned(self.pipeline, self.sampler, prompts, cells, self.codec.stride, *options)

    def prompts(self, batch: Batch) -> tuple[str, ...]:
        """Give the prompt that each image of a chunk is inverted with."""
        if self.prompt is not None:
            return (self.prompt,) * len(batch.names)
        return batch.prompts or ("",) * len(batch.names)

    def start(self, batch: Batch) -> None:
        """Start the course of a chunk."""
        self._process = self._found = None
        self._departure = []
        self.course.begin(self._course(batch))

    def _course(self, batch: Batch) -> Course:
        """From images to latents, to noise."""
        found = yield from self.decoder.course(self.codec, batch)
        self._found = found
        if not len(found):
            return found
        height, width = found.shape[-2:]
        self._process = self.process(self.prompts(batch), (height, width))
        self._process.companion = self.decoder.companion(self.codec, batch)
        return (yield from self.method.course(self._process, self.codec.scaling.apply(found)))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Take one step of every sample that still runs, by the rule of its problem."""
        optimizers = self.optimizers()
        chosen = optimizers[min(len(self.course.results), 1)] if isinstance(optimizers, list) else optimizers
        self._within_memory(lambda: self._step(chosen.step))

    def _within_memory(self, work: Callable[[], None]) -> None:
        """Do a part of the chunk's work; of a chunk that was given up there is no process and no latent."""
        super()._within_memory(work)
        if self.batch is None or not self.batch.names:
            self._process = self._found = None

    @property
    def result(self) -> Result:
        """The outcome of the chunk: evaluations are those of E(D(z)) and guided predictions, the residual the sampler's."""
        result, process = self.course.result(), self._process
        if process is None or self._found is None:
            return replace(result, noise=torch.full_like(result.latent, torch.nan))
        first = self.course.results[:1] if self.starts_at_encoder else []
        rest = self.course.results[len(first) :]
        evaluations = process.spent.clone()
        for earlier in first:
            evaluations += earlier.evaluations
        residual = torch.stack([part.residual for part in rest]).amax(0) if rest else result.residual
        status = result.status
        if rest and self.course.done and not self.decoder.seeks:
            status = tuple(Status(max(statuses)) for statuses in zip(*(part.status for part in rest), strict=True))
        known = replace(result, evaluations=evaluations, residual=residual, status=status)
        return replace(known, latent=self._found, noise=result.latent)

    @property
    def reconstruction(self) -> Tensor:
        """The images ``(B, 3, H, W)`` sampled from the reported noise, clamped to [-1, 1]; made when first asked for."""
        if self._reconstruction is None:
            result, process = self.result, self._process
            with torch.no_grad(), self.trainer.precision_plugin.train_step_context():
                if process is None or result.noise is None:
                    latent = result.latent
                else:
                    with process.uncounted():
                        again = process.generate(result.noise)
                    latent = self.codec.scaling.invert(again)
                    self._departure = nmse_db(again, self.codec.scaling.apply(result.latent)).tolist()
                self._reconstruction = in_halves(self.codec.decode, latent).clamp(-1, 1)
        return self._reconstruction

    @property
    def remarks(self) -> tuple[str, ...]:
        """Name the samples whose steps are inverted, but whose noise leads elsewhere when it is sampled from."""
        pairs = zip(self.result.status, self._departure, strict=True) if self._departure else ()
        return tuple(_remark(status, departure) for status, departure in pairs)


def _remark(status: Status, departure: float) -> str:
    if status is not Status.CONVERGED or not departure > ELSEWHERE_DB:
        return ""
    return (
        "Every step is inverted to the method's `rtol`, but the latent sampled anew from the noise is another (NMSE "
        f"{departure:.1f} dB): the sampler magnifies what is left of the residuals. Lower the method's `rtol`, or `guidance`."
    )
