"""Where the bundled diffusion models are: pipelines of diffusers without an autoencoder, for which the bundled codec stands."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"

BUNDLED = {"bundled": WEIGHTS, "bundled-flow": WEIGHTS / "flow"}
"""The directories of the bundled models by name: the diffusion model, and its few-step version."""


def codec_of(pipeline: str, codec: str | None = None) -> str:
    """Give the path of a diffusion model's autoencoder.

    Args:
        pipeline: The diffusion model: ``bundled``, ``bundled-flow``, a directory saved by diffusers, or a hub id.
        codec: Its autoencoder where another one is asked for.

    Returns:
        ``codec`` if there is one; else the bundled codec for bundled models, which come without, and the pipeline for others.
    """
    return codec or ("bundled" if pipeline in BUNDLED else pipeline)


def pipeline_directory(path: str) -> Path:
    """Give the directory of a pipeline.

    Args:
        path: ``bundled`` for the diffusion model of the package, ``bundled-flow`` for its few-step version, or a directory.

    Raises:
        FileNotFoundError: If there is no pipeline.
    """
    directory = BUNDLED.get(path, Path(path).expanduser())
    if not (directory / "model_index.json").is_file():
        raise FileNotFoundError(f"Expected a pipeline saved by diffusers at {path!r}, but there is no model_index.json.")
    return directory
