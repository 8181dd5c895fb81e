"""The table of diffusers' autoencoder classes, TABLE.md: ``python -m decinv.codecs.table`` writes it anew."""

import tempfile
import warnings
from pathlib import Path

import diffusers
from diffusers import ModelMixin
from diffusers.models import autoencoders

from decinv.codecs.autoencoder import AutoencoderCodec
from decinv.codecs.drivers import UNSUPPORTED
from decinv.codecs.scaling import Scaling
from decinv.codecs.tiny import INSTANCES, make

TABLE = Path(__file__).parent / "TABLE.md"
HEADER = ("class", "codes", "frames: latent frames", "scaling", "tried with", "latents", "notes")


def classes() -> list[str]:
    """Name the classes that the installed diffusers has for autoencoders."""
    kinds = {name: getattr(autoencoders, name) for name in dir(autoencoders)}
    return sorted(name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, ModelMixin))


def row(name: str, codec: AutoencoderCodec) -> str:
    """Give the line of one of ``INSTANCES``.

    Args:
        name: Its name.
        codec: The codec that was made of it.
    """
    kind, _, variant = INSTANCES[name]
    rule, side = codec.frames, codec._driver.sizes[0]
    times = [] if rule is None else [rule.first + rule.step]
    image = " x ".join(str(length) for length in (*times, side, side))
    shape = (codec.latent_channels, *((rule.latents(length) for length in times) if rule else ()), *(side // codec.stride,) * 2)
    latent = " x ".join(str(length) for length in shape)
    counts = "" if rule is None else f"{rule}: {rule.latent_first}, {rule.latent_first + rule.latent_step}, ..."
    shown = kind + (f" ({variant})" if variant else "")
    codes = "images" if rule is None else "clips"
    return _line(shown, codes, counts, _formula(codec.scaling), image, latent, codec._driver.note)


def _formula(scaling: Scaling) -> str:
    """Write the map of a raw latent z to the diffusion model's space."""
    places = ["channel"] + ["latent frame"] * (scaling.frames > 1)
    places += [f"place of {scaling.patch} x {scaling.patch}"] * (scaling.patch > 1)
    by = f" by {' and '.join(places)}" if isinstance(scaling.factor, tuple) or isinstance(scaling.shift, tuple) else ""
    if scaling == Scaling():
        return "z"
    return ("z f" if scaling.shift == 0 else "(z - m) f") + by


def missing(kind: str) -> str:
    """Give the line of a class of which there is no instance."""
    return _line(kind, "-", "", "", "", "", f"Not supported: {UNSUPPORTED.get(kind, 'it has not been tried')}.")


def heading() -> str:
    """Give what stands above the lines."""
    return "\n".join(
        [
            "# Autoencoder classes",
            "",
            f"Every class that diffusers {diffusers.__version__} has for autoencoders. Each one that is supported is driven in "
            "the tests, as a tiny random autoencoder that was saved and loaded: shapes, repetition, rows apart, scaling, what "
            "sizes and numbers of frames are refused. Strides, channels and compression of time are those of the tiny ones.",
            "",
            _line(*HEADER),
            _line(*("-" * len(title) for title in HEADER)),
        ]
    )


def write() -> None:
    """Write TABLE.md."""
    lines: dict[str, list[str]] = {kind: [] for kind in classes()}
    for name, instance in INSTANCES.items():
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make(name).save_pretrained(folder)
            lines[instance.kind].append(row(name, AutoencoderCodec(folder)))
    for kind, found in lines.items():
        found.extend([] if found else [missing(kind)])
    TABLE.write_text("\n".join([heading(), *(line for found in lines.values() for line in found)]) + "\n", encoding="utf-8")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    write()
