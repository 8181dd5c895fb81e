"""The diffusion model of a benchmark."""

from collections.abc import Iterable

from decinv.diffusion.pipeline import DiffusersPipeline
from decinv.diffusion.sampler import Sampler
from decinv.dtypes import Dtype


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
