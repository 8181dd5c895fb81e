"""Which driver each autoencoder class of diffusers takes, and which classes have none."""

from diffusers import ModelMixin
from torch import nn

from decinv.codecs.clip_drivers import (
    CachingDriver,
    GroupedDriver,
    ImageNetDriver,
    PaddingDriver,
    SegmentedDriver,
    SharedDecoderDriver,
    SingleDriver,
    TiledDriver,
    TimedDriver,
)
from decinv.codecs.driver import ClipDriver, Driver
from decinv.codecs.image_drivers import NoiseDriver, StillDriver, UnitDriver

DRIVERS: dict[str, type[Driver]] = {
    "ConsistencyDecoderVAE": NoiseDriver,
    "AutoencoderKLQwenImage": StillDriver,
    "AutoencoderKLQwenImage21": StillDriver,
    "AutoencoderKLHunyuanImageRefiner": StillDriver,
    "AutoencoderRAE": UnitDriver,
    "AutoencoderKLTemporalDecoder": SharedDecoderDriver,
    "AutoencoderKLCogVideoX": GroupedDriver,
    "AutoencoderKLHunyuanVideo15": SingleDriver,
    "AutoencoderKLAllegro": TiledDriver,
    "AutoencoderKLMagvit": CachingDriver,
    "AutoencoderKLKVAEVideo": SegmentedDriver,
    "AutoencoderVidTok": PaddingDriver,
    "AutoencoderKLLTXVideo": TimedDriver,
    "AutoencoderKLLTX2Video": TimedDriver,
    "AutoencoderKLMiniMaxH3": ImageNetDriver,
}
"""Drivers of the classes that need one of their own, by name, since an older diffusers lacks some of them."""


UNSUPPORTED: dict[str, str] = {
    **dict.fromkeys(
        (
            "AutoencoderKLKVAEAudio",
            "AutoencoderKLLTX2Audio",
            "AutoencoderKLMiniMaxH3Audio",
            "AutoencoderOobleck",
            "AutoencoderSAME",
            "Cosmos3AVAEAudioTokenizer",
            "LongCatAudioDiTVae",
            "MMAudioVAE",
        ),
        "it codes sound",
    ),
    "MMAudioVocoder": "it makes sound, and has no encoder",
    "MiniMaxMusic3Vocoder": "it makes sound, and has no encoder",
    "LTX2VideoDiffusionDecoderModel": "it decodes by diffusion, and has no encoder",
    "RFD4ProteinaAutoencoder": "it codes proteins",
}
"""Classes that code neither images nor clips, by name, and why."""


def driver_of(model: ModelMixin) -> Driver:
    """Give the driver of an autoencoder: its class's own; else clips where it has convolutions over time, or images."""
    over_time = any(isinstance(module, nn.Conv3d) for module in model.modules())
    return DRIVERS.get(type(model).__name__, ClipDriver if over_time else Driver)(model)
