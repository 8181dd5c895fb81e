"""The benchmark of sampler inversion: every method on the same images, whose latents and noise are known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from decinv.benchmark.conditions import Conditions
from decinv.benchmark.diffusion_models import model_for
from decinv.benchmark.environment import write_environment
from decinv.benchmark.maker import Made, Maker
from decinv.benchmark.measuring.measure import invert_decoder
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT, GRADIENT, iterations_of
from decinv.benchmark.progress import ticking
from decinv.benchmark.sampler.measure import Inverted, invert, step_residuals
from decinv.benchmark.sampler.methods import OURS, Contender, contenders
from decinv.benchmark.sampler.report import print_report, write_report
from decinv.benchmark.sampler.rows import TRUE_LATENT, Found, Row, summarise
from decinv.benchmark.table import refuse_table
from decinv.codecs.autoencoder import load_codec
from decinv.data.noise import PROMPTS
from decinv.diffusion import DDIM, DPMSolver, FireFlow, FlowEuler, FlowMidpoint, Sampler, Trajectory
from decinv.diffusion.bundled import codec_of
from decinv.dtypes import Dtype
from decinv.metrics.background import image_nmse_db
from decinv.metrics.latent import nmse_db
from decinv.metrics.pixel import psnr_db


@dataclass(frozen=True)
class Setting:
    """What images are made by, and inverted with.

    Attributes:
        name: What tables call the sampler.
        maker: Diffusion model, codec, sampler and guidance.
    """

    name: str
    maker: Maker


def sampler(
    out: Path,
    pipeline: str = "bundled",
    codec: str | None = None,
    prompts: Sequence[str] = PROMPTS,
    guidance: Sequence[float] = (1.0, 3.0, 5.0, 7.5, 10.0),
    reference: float = 3.0,
    methods: Sequence[str] | None = None,
    elsewhere: Sequence[str] | None = None,
    behind: Sequence[str] = ("naive", "Algorithm 1", "Algorithm 2", OURS),
    decoders: Sequence[str] = ("encoder", GRADIENT, DEFAULT),
    ddim: int | None = 50,
    offset: int | None = None,
    multistep: int | None = 10,
    flow: int | None = None,
    fine: int = 1000,
    most: int = 500,
    rtols: Sequence[float] = (3e-2, 1e-2, 3e-3, 1e-3, 1e-4),
    iterations: int = 100,
    ours: int = 50,
    count: int = 4,
    size: int = 128,
    batch_size: int = 16,
    seed: int = 1000,
    dtype: Dtype = "float32",
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Compare all inversions of samplers on the same images: the tables of arXiv 2311.18387, extended.

    The samplers are DDIM and DPM-Solver++(2M), or for pipelines of flows Euler's method, RF-Solver and FireFlow.

    T0T is from noise to latent to noise, from the true latent or from 8-bit images behind an inversion of the decoder, and 0T0
    from image to noise to image, where white is 1 and black is 0. Writes table.csv, matched.csv (network evaluations at the
    same T0T), table.md with both, steps.csv (residual by time step), sampler.png and environment.json, and prints the tables.

    Args:
        out: Directory to write into; made where there is none, and refused where it holds a table.csv.
        pipeline: The diffusion model: ``bundled``, a directory saved by diffusers, or a hub id.
        codec: Its autoencoder, in the same words; by default the pipeline's own.
        prompts: What the images show, in turn.
        guidance: Guidance scales of generation and inversion.
        reference: The one of them with which all methods and the inversions of the decoder take part.
        methods: Names of the methods that take part, as the table has them; by default all.
        elsewhere: Names of those that take part with the other guidance scales too; by default all.
        behind: Names of those that take part behind the inversions of the decoder.
        decoders: Names of the inversions of the decoder, as the decoder benchmark has them; may be empty.
        ddim: Steps of DDIM, at least 1; null to leave it out.
        offset: What DDIM's times are later than 0, at least 0; by default as the pipeline's scheduler says.
        multistep: Steps of DPM-Solver++(2M), at least 1; null to leave it out.
        flow: Predictions of each sampler of flows (Euler's method, RF-Solver, FireFlow), an even number of at least 2; null to
            leave them out. Pipelines of flows have no others, and ``methods`` names those that invert them.
        fine: Steps of the finer grid of naive inversion.
        most: Largest number of iterations of the published algorithms for each step, at least 1; theirs is 500.
        rtols: Tolerances with which ours takes part beside its default, to compare evaluations at the same T0T.
        iterations: Iterations of the other inversions of the decoder, at least 1.
        ours: Iterations of our inversion of the decoder, at least 1.
        count: Number of images for each sampler and guidance scale, at least 2.
        size: Height and width of an image in pixels, a multiple of the codec's stride.
        batch_size: Images that are inverted together, at least 1.
        seed: Seed of the noise.
        dtype: Number format of the networks' arithmetic.
        device: Where to compute; null for ``cuda`` where there is one, else ``cpu``.
        threads: Threads that torch computes with on the CPU, at least 1; null for torch's choice.

    Raises:
        FileExistsError: If ``out`` holds a table.csv already.
        FileNotFoundError: If there is no model where one should be.
        ValueError: If an option is out of range.
    """
    options = dict(locals())
    refuse_table(out)
    samplers: dict[str, Sampler] = {} if ddim is None else {f"DDIM {ddim}": DDIM(ddim, offset=offset)}
    samplers |= {} if multistep is None else {f"2M {multistep}": DPMSolver(multistep)}
    samplers |= {} if flow is None else flows(flow)
    if min(iterations, ours, most, fine) < 1 or not prompts or reference not in guidance or not samplers:
        raise ValueError(
            "Expected prompts, a sampler, numbers of iterations of at least 1, and `reference` to be one of `guidance`, "
            f"but got {list(prompts)}, {list(samplers)}, {(iterations, ours, most, fine)} and {reference}."
        )
    path = codec_of(pipeline, codec)
    conditions = Conditions([path], dtype, device, count, size, batch_size, seed, 0.0, threads, pipeline)
    if unknown := set(decoders) - BY_NAME.keys():
        raise ValueError(f"Expected `decoders` to be of {'; '.join(BY_NAME)}, but got {', '.join(sorted(unknown))}.")
    place = conditions.begin()
    model = model_for(samplers.values(), pipeline, dtype)
    autoencoder = load_codec(path, dtype, place)
    settings = [
        Setting(name, Maker(model, autoencoder, one, scale, prompts, size))
        for scale in guidance
        for name, one in samplers.items()
    ]
    known = contenders(prod(settings[0].maker.shape), fine, most, rtols)
    chosen = choose(known, methods, "methods")
    others, front = choose(chosen, elsewhere, "elsewhere"), choose(known, behind, "behind")
    trajectories = [setting.maker.process(prompts[:1]).trajectory for setting in settings]
    for setting, trajectory in zip(settings, trajectories, strict=True):
        refuse_methods([*chosen, *front] if setting.maker.guidance == reference else others, setting.name, trajectory)
    before = [(BY_NAME[name], iterations_of(name, ours, iterations)) for name in decoders]
    device_name = write_environment(out, options, place)
    phrase = conditions.phrase(device_name)
    rows: list[Row] = []
    starts = range(0, count, batch_size)
    with ticking(len(settings) * len(starts)) as tick:
        for setting, trajectory in zip(settings, trajectories, strict=True):
            central = setting.maker.guidance == reference
            found: list[list[Found]] = []
            for start in starts:
                tick(f"{setting.name}, guidance {setting.maker.guidance:g}")
                made = setting.maker.make(range(start, min(start + batch_size, count)), seed)
                taking = [one for one in (chosen if central else others) if one.inverts(trajectory.multistep)]
                parts = list(compare(setting, made, TRUE_LATENT, made.latent, 0.0, taking, central))
                for method, steps in before if central else []:
                    latent, seconds = invert_decoder(method, steps, autoencoder, made.image)
                    inner = [one for one in front if one.inverts(trajectory.multistep)]
                    parts += compare(setting, made, method.name, latent, seconds, inner, False)
                found.append(parts)
            rows += [summarise(parts) for parts in zip(*found, strict=True)]
            write_report(rows, out, phrase, reference)  # so that a run that is cut short leaves what it has
    print_report(rows)


def flows(predictions: int) -> dict[str, Sampler]:
    """Give the samplers of flows with so many predictions each, by their names in the table.

    Raises:
        ValueError: If the number is not even or below 2.
    """
    if predictions < 2 or predictions % 2:
        raise ValueError(f"Expected `flow` to be an even number of predictions, at least 2, but got {predictions}.")
    half, less = predictions // 2, predictions - 1
    return {
        f"Euler {predictions}": FlowEuler(predictions),
        f"RF-Solver {half}": FlowMidpoint(half),
        f"FireFlow {less}": FireFlow(less),
    }


def refuse_methods(taking: Sequence[Contender], name: str, trajectory: Trajectory) -> None:
    """Refuse methods that are of the sampler's order but cannot invert it, before images are made.

    Raises:
        ValueError: If there is one.
    """
    for one in taking:
        if one.inverts(trajectory.multistep):
            try:
                one.method.check(trajectory)
            except ValueError as error:
                raise ValueError(
                    f"Expected methods that can invert {name}, but {one.name!r} cannot; leave it out. {error}"
                ) from error


def choose(known: Sequence[Contender], names: Sequence[str] | None, option: str) -> list[Contender]:
    """Give the methods of some names, in their own order; by default all.

    Raises:
        ValueError: If there is none of a name.
    """
    if names is None:
        return list(known)
    for name in names:
        if name not in [one.name for one in known]:
            all_names = "; ".join(one.name for one in known)  # which have commas
            raise ValueError(f"Expected `{option}` to be of {all_names}; but got {name!r}.")
    return [one for one in known if one.name in names]


def compare(
    setting: Setting,
    made: Made,
    decoder: str,
    latent: Tensor,
    decoder_seconds: float,
    taking: Sequence[Contender],
    by_step: bool,
) -> Iterator[Found]:
    """Invert the sampler on one chunk by each method.

    Args:
        setting: What they were made by.
        made: The images with their noise.
        decoder: Where the latents come from.
        latent: The scaled latents ``(B, C, h, w)`` to start from.
        decoder_seconds: Seconds that they took.
        taking: The methods.
        by_step: Whether to measure the residual of each step.

    Yields:
        What each method found.
    """
    results = [invert(one.method, setting.maker.process(made.prompts), latent) for one in taking]
    images = _regenerate(setting, made, results) if results else []
    for one, result, image in zip(taking, results, images, strict=True):
        residuals = torch.empty(len(latent), 0)
        if by_step and result.points is not None:
            residuals = step_residuals(made.process, result.points, latent).cpu()
        yield Found(
            *(setting.name, setting.maker.guidance, decoder, one.name),
            noise_nmse_db=nmse_db(result.noise, made.noise).cpu(),
            round_trip_nmse_db=image_nmse_db(image, made.image).cpu(),
            psnr_db=psnr_db(image, made.image).cpu(),
            evaluations=result.evaluations,
            seconds=result.seconds,
            decoder_seconds=decoder_seconds,
            status=result.status,
            residuals=residuals,
        )


def _regenerate(setting: Setting, made: Made, results: Sequence[Inverted]) -> Sequence[Tensor]:
    """Sample images from the noise that all methods found, in one batch; clamped, ``(B, 3, H, W)`` for each method."""
    noise = torch.cat([result.noise for result in results])
    latent = setting.maker.process(made.prompts * len(results)).generate(noise)
    latents = torch.split(setting.maker.codec.scaling.invert(latent), len(made.noise))
    with torch.no_grad():
        return [setting.maker.codec.decode(part).clamp(-1, 1) for part in latents]
