"""Where the bundled diffusion models are: pipelines of diffusers without an autoencoder, for which the bundled codec stands."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"

BUNDLED = {"bundled": WEIGHTS, "bundled-flow": WEIGHTS / "flow"}
"""The directories of the bundled models by name: the diffusion model, and its few-step version."""


def codec_path(pipeline: str) -> str:
    """Give the path of a pipeline's autoencoder: its own, but for the bundled models, which come without."""
    return "bundled" if pipeline in BUNDLED else pipeline


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
