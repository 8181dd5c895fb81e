"""The diffusion model of a benchmark, and the autoencoder that goes with it."""

from collections.abc import Iterable

from decinv.diffusion.bundled import BUNDLED
from decinv.diffusion.pipeline import DiffusersPipeline
from decinv.diffusion.sampler import Sampler
from decinv.dtypes import Dtype


def codec_of(pipeline: str, codec: str | None = None) -> str:
    """Give the path of a diffusion model's autoencoder.

    Args:
        pipeline: The diffusion model: ``bundled``, ``bundled-flow``, a directory saved by diffusers, or a hub id.
        codec: Its autoencoder where another one is asked for.

    Returns:
        ``codec`` if there is one; else the bundled codec for bundled models, which come without, and the pipeline for others.
    """
    return codec or ("bundled" if pipeline in BUNDLED else pipeline)


def model_for(samplers: Iterable[Sampler], pipeline: str, dtype: Dtype) -> DiffusersPipeline:
    """Look at a diffusion model that a benchmark's samplers shall sample.

    Raises:
        FileNotFoundError: If there is no pipeline.
        ValueError: If it is of another kind than one of the samplers, such as a flow for DDIM.
    """
    model = DiffusersPipeline(pipeline, dtype)
    for sampler in samplers:
        try:
            sampler.refuse_kind(model.config)
        except ValueError as error:
            kind = model.config.get("_class_name")
            raise ValueError(
                f"Expected `pipeline` to be a model that {type(sampler).__name__} samples, but got {pipeline!r} with {kind}; "
                "take another model, or another sampler."
            ) from error
    return model
