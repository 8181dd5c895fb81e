"""Generated images and their edits from recovered noise, for the benchmark of edits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from decinv.benchmark.maker import Maker
from decinv.benchmark.measuring.measure import invert_decoder, now
from decinv.benchmark.measuring.methods import BY_NAME, DEFAULT
from decinv.codecs.base import Codec
from decinv.data.generated import decode_rounded
from decinv.diffusion import Condition
from decinv.editing import PromptMask, regenerate, to_pixels
from decinv.methods import Method
from decinv.metrics.background import background_nmse, background_psnr_db, background_ssim
from decinv.metrics.latent import nmse_db
from decinv.metrics.pixel import psnr_db


@dataclass(frozen=True)
class Inversion:
    """How noise is recovered from an image.

    Attributes:
        name: What the table calls it.
        decoder: Iterations of the decoder's inversion; 0 for the encoder, ``None`` for the true latent.
        method: How the sampler is inverted; ``None`` for the true noise.
    """

    name: str
    decoder: int | None
    method: Method | None


class Original(NamedTuple):
    """A chunk of ``B`` images with all that is known of them.

    Attributes:
        image: 8-bit images ``(B, 3, H, W)`` in [-1, 1].
        latent: Their scaled latents ``(B, C, h, w)``.
        noise: The noise that those were made of.
        mask: Where edits may change them, ``(B, 1, h, w)``.
        prompts: What they show.
        targets: What their edits show.
    """

    image: Tensor
    latent: Tensor
    noise: Tensor
    mask: Tensor
    prompts: list[str]
    targets: list[str]


class Latent(NamedTuple):
    """What the inversion of a decoder found.

    Attributes:
        scaled: Scaled latents ``(B, C, h, w)``.
        seconds: Seconds that it took for all of them.
    """

    scaled: Tensor
    seconds: float


class Edited(NamedTuple):
    """Edits of ``B`` images, and how good they are, each ``(B,)``.

    Attributes:
        image: The edits ``(B, 3, H, W)``.
        background_nmse: NMSE of the background, a ratio.
        background_psnr_db: Its PSNR, dB.
        background_ssim: Its structural similarity.
        latent_nmse_db: NMSE of the background of the edit's latent, dB; ``-inf`` if identical.
        oracle_psnr_db: PSNR of the edit against that from the true noise, dB; ``inf`` if identical.
        noise_nmse_db: NMSE of the recovered noise, dB; ``-inf`` if identical.
        seconds: Seconds of the inversion for each image.
    """

    image: Tensor
    background_nmse: Tensor
    background_psnr_db: Tensor
    background_ssim: Tensor
    latent_nmse_db: Tensor
    oracle_psnr_db: Tensor
    noise_nmse_db: Tensor
    seconds: Tensor

    @staticmethod
    def join(parts: Sequence["Edited"]) -> "Edited":
        """Put chunks together."""
        return Edited(*(torch.cat(values) for values in zip(*parts, strict=True)))


@torch.no_grad()
def generate(maker: Maker, targets: Sequence[str], numbers: Sequence[int], seed: int) -> Original:
    """Generate images, and find where edits towards ``targets``, as many as the maker's prompts, may change them."""
    prompts, noise, latent, image, process = maker.make(numbers, seed)
    wanted = [targets[number % len(targets)] for number in numbers]
    target = maker.process(wanted).condition.prompt
    mask = PromptMask(seed=seed).compare(process, process.condition.prompt, target, latent, list(numbers))
    return Original(image, latent, noise, mask, prompts, wanted)


@torch.no_grad()
def edit(maker: Maker, original: Original, inversion: Inversion, latent: Latent, oracle: Tensor | None) -> Edited:
    """Recover the noise of a chunk, edit it, and compare.

    Args:
        maker: Has generated the images.
        original: The images.
        inversion: How the noise is recovered.
        latent: The latents from which it is.
        oracle: The edits from the true noise; ``None`` where these are they.
    """
    codec, process, method = maker.codec, maker.process(original.prompts), inversion.method
    start = now(codec.device)
    noise = original.noise if method is None else method.invert(process, latent.scaled).latent
    seconds = (now(codec.device) - start + latent.seconds) / len(noise)
    source = tuple(process.walk(noise))
    condition = Condition(maker.process(original.targets).condition.prompt, process.condition.negative)
    edited = regenerate(process, source, process.guidance, [condition] * len(process.steps), original.mask)
    image = decode_rounded(codec, codec.scaling.invert(edited)).to(codec.device)
    size = image.shape[-2], image.shape[-1]
    compared = image, original.image, to_pixels(original.mask, size)
    measures: list[Callable[..., Tensor]] = [background_nmse, background_psnr_db, background_ssim]
    values = (
        *(measure(*compared) for measure in measures),
        nmse_db(edited * ~original.mask, original.latent * ~original.mask),
        psnr_db(image, image if oracle is None else oracle.to(image.device)),
        nmse_db(noise, original.noise),
        torch.full((len(noise),), seconds),
    )
    return Edited(image.cpu(), *(value.cpu() for value in values))


def recover_latent(codec: Codec, original: Original, iterations: int | None) -> Latent:
    """Recover the latents of a chunk; see ``Inversion.decoder``."""
    if iterations is None:
        return Latent(original.latent, 0.0)
    return Latent(*invert_decoder(BY_NAME[DEFAULT if iterations else "encoder"], iterations, codec, original.image))
